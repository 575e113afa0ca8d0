"""What every page has: header, links, messages, exports, the widgets of a routing rule.

The same on all pages.
Not here: one page's own parts (views).
"""
