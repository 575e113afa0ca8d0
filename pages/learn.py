"""Learn: how does it work?"""

from app import learn_view, loading

learn_view.draw(loading.list_checkpoints())
