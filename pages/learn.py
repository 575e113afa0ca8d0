"""Learn: how does it work?"""

from app.learn import learn_view
from app.runs import resources

learn_view.draw(resources.list_checkpoints())
