"""The explorer: a local page that shows a flow at work. `pushforward explore` opens it; needs the extra `explore`."""

from pushforward.explore.server import app, serve

__all__ = ["app", "serve"]
