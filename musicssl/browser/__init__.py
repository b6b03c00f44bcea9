"""A page that embeds a song in the browser and shows the songs that are like it."""

from musicssl.browser.page import write_page

__all__ = ["write_page"]
