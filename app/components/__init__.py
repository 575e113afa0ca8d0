"""Components that run in the browser: the Python function, the JavaScript and the style sheet of each.

Token text reaches the page as text content alone.
Not here: what is drawn by Plotly or Altair (charts).
"""
