"""The terminal interface: a client of a node's control API that draws a :class:`NodeView`.

Data flow down and messages flow up: one worker in :mod:`fedtui.tui.app` reads views, screens hand
them to widgets, and each widget turns the newest view into lines of plain text. What a line says is
decided by functions without Textual (:mod:`fedtui.tui.wording` and the module of each widget).
"""
