"""Three themes with one accent each: dark, light, and a high-contrast one for a projector."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="fedtui",
    primary="#8ab0f5",
    secondary="#8ab0f5",
    accent="#8ab0f5",
    success="#8fcf9f",
    warning="#e5c07b",
    error="#ee8080",
    foreground="#d5d9e4",
    background="#10131a",
    surface="#171b24",
    panel="#1f2430",
    dark=True,
    variables={
        "ink-muted": "#8a92a6",
        "ink-faint": "#525a6e",
        "frame": "#333b4d",
        "border": "#8ab0f5",
        "block-cursor-background": "#252c3b",
        "block-cursor-foreground": "#d5d9e4",
        "block-cursor-text-style": "none",
        "scrollbar": "#333b4d",
        "scrollbar-background": "#10131a",
        "scrollbar-corner-color": "#10131a",
    },
)

LIGHT = Theme(
    name="fedtui-light",
    primary="#2453b3",
    secondary="#2453b3",
    accent="#2453b3",
    success="#1f7a3d",
    warning="#8a5a00",
    error="#b3261e",
    foreground="#1f2430",
    background="#fafaf7",
    surface="#f0f0ec",
    panel="#e6e6e0",
    dark=False,
    variables={
        "ink-muted": "#5b6375",
        "ink-faint": "#a3a9b5",
        "frame": "#c3c7cf",
        "border": "#2453b3",
        "block-cursor-background": "#dfe5f2",
        "block-cursor-foreground": "#1f2430",
        "block-cursor-text-style": "none",
        "scrollbar": "#c3c7cf",
        "scrollbar-background": "#fafaf7",
        "scrollbar-corner-color": "#fafaf7",
    },
)

WALL = Theme(
    name="fedtui-wall",
    primary="#ffd75f",
    secondary="#ffd75f",
    accent="#ffd75f",
    success="#87ffaf",
    warning="#ffaf00",
    error="#ff8787",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1c1c1c",
    dark=True,
    variables={
        "ink-muted": "#d0d0d0",
        "ink-faint": "#8a8a8a",
        "frame": "#9e9e9e",
        "border": "#ffd75f",
        "block-cursor-background": "#303030",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "scrollbar": "#9e9e9e",
        "scrollbar-background": "#000000",
        "scrollbar-corner-color": "#000000",
    },
)

THEMES = (DARK, LIGHT, WALL)

FALLBACK_VARIABLES = {
    "ink-muted": "#8a8a8a",
    "ink-faint": "#6c6c6c",
    "frame": "#6c6c6c",
}
"""For the library's own themes, which do not know these names."""
