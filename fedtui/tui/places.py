"""The screens that number keys lead to, in the order of the keys. Each is imported when opened."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from textual.screen import Screen


class Place(NamedTuple):
    """A screen: its key, its name for eyes, and where its class is."""

    key: str
    id: str
    name: str
    module: str
    screen: str

    def open(self) -> Screen[None]:
        """A new screen of this place."""
        module = import_module(f"fedtui.tui.screens.{self.module}")
        made: Screen[None] = getattr(module, self.screen)()
        return made


PLACES = (
    Place("1", "dash", "Dash", "dashboard", "DashboardScreen"),
    Place("2", "peers", "Peers", "peers", "PeersScreen"),
    Place("3", "rounds", "Rounds", "rounds", "RoundsScreen"),
    Place("4", "gallery", "Gallery", "gallery", "GalleryScreen"),
    Place("5", "data", "Data", "data", "DataScreen"),
    Place("6", "studio", "Studio", "studio", "StudioScreen"),
    Place("7", "library", "Library", "library", "LibraryScreen"),
    Place("8", "room", "Room", "room", "RoomScreen"),
    Place("9", "logs", "Logs", "logs", "LogsScreen"),
    Place(",", "settings", "Settings", "settings", "SettingsScreen"),
    Place("D", "doctor", "Doctor", "doctor", "DoctorScreen"),
)
NUMBERED = tuple(place for place in PLACES if place.key.isdigit())
"""Those in the bar at the top."""
WALL = Place("w", "wall", "Wall", "wall", "WallScreen")
