"""A contact sheet: what a search found, as one HTML file that needs nothing else."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template

from dinotxt.data.pictures import printable
from dinotxt.errors import DataError
from dinotxt.results.hit import Hit

SIDE = 360

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 1500px; padding: 1.25rem clamp(1rem, 3vw, 2rem);
  font: 16px/1.45 system-ui, sans-serif; background: Canvas; color: CanvasText; }
h1 { font-size: 1.25rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0 1.25rem; opacity: .7; }
ol { display: grid; gap: .8rem; margin: 0; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr)); }
figure { margin: 0; border: 1px solid color-mix(in srgb, CanvasText 18%, Canvas);
  border-radius: 12px; overflow: hidden; }
img, .none { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: contain;
  background: color-mix(in srgb, CanvasText 8%, Canvas); }
.none { display: grid; place-items: center; font-size: .875rem; }
figcaption { display: flex; gap: .6rem; padding: .45rem .7rem; font-size: .875rem; }
figcaption span { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
a { color: inherit; text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
data { opacity: .7; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$note</p>
<ol>
$tiles
</ol>
</body>
</html>
""")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TILE = Template("""<li><figure><a href="$link" title="$path">$picture</a>
<figcaption><span title="$path">$name</span><data value="$score">$score</data></figcaption>
</figure></li>""")


def contact_sheet(
    hits: Sequence[Hit], *, title: str, note: str, thumbnail: Callable[[str, int], bytes]
) -> str:
    """Return the sheet; the small copies are inside it, each links to its file.

    Args:
        hits: What was found, the best first.
        title: What was searched for.
        note: What else should stand at the top.
        thumbnail: Gives the JPEG of a path and the length of its long side; its DataError
            becomes a grey tile.
    """
    tiles = [_tile(hit, thumbnail) for hit in hits]
    return _PAGE.substitute(
        policy=_POLICY, title=escape(title), note=escape(note), tiles="\n".join(tiles)
    )


def _tile(hit: Hit, thumbnail: Callable[[str, int], bytes]) -> str:
    shown, path = printable(hit.path), Path(hit.path)
    try:
        content = b64encode(thumbnail(hit.path, SIDE)).decode()
        picture = f'<img alt="" src="data:image/jpeg;base64,{content}">'
    except DataError:
        picture = '<span class="none">cannot be read</span>'
    return _TILE.substitute(
        link=escape(path.as_uri() if path.is_absolute() else shown),
        path=escape(shown),
        name=escape(printable(path.name)),
        score=f"{hit.score:.3f}",
        picture=picture,
    )
