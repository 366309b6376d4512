"""Finds circles among the files of crates, tests left out: `check_circles.py CRATE…`.

A file leans on those whose names it uses, by `use` or by path, wherever re-exports lead to; what two files
need of each other belongs into a third one below both.
"""

import graphlib
import re
import sys
from pathlib import Path

NOISE = re.compile(
    r"""//[^\n]*|'\\?"'|"(?:\\.|[^"\\])*"|\n#\[cfg\([^\n]*\btest\b[^\n]*\)\]\n(?:mod tests \{.*|use [^;]+;)""", re.S
)
USE = re.compile(r"^ *(?:pub(?:\([^)]*\))? )?use ([^;]+);", re.M)
INLINE = re.compile(r"(?<![\w:])[a-z_]\w*(?:::\w+)+")
TESTS = re.compile(r"#\[cfg\([^\n]*\btest\b[^\n]*\)\]\n(?:pub.*)?mod (\w+);")


def leaves(tree):
    """The paths of a `use`."""
    tree = re.sub(r"\s+(as \w+)?", "", tree)
    while "{" in tree:
        tree = re.sub(r"([\w:]*)\{([^{}]*)\}", lambda m: ",".join(m[1] + p for p in m[2].split(",") if p), tree)
    return [path.removesuffix("::self").split("::") for path in tree.split(",")]


def circle(crate):
    source = Path(crate, "src")
    root = "lib" if (source / "lib.rs").exists() else "main"
    texts = {path.relative_to(source).with_suffix("").parts: path.read_text() for path in source.rglob("*.rs")}
    texts = {() if place == (root,) else place: NOISE.sub("", text) for place, text in texts.items()}
    tests = {"main"} | {name for text in texts.values() for name in TESTS.findall(text)}
    texts = {place: text for place, text in texts.items() if not tests & {*place}}
    used = {place: [p for tree in USE.findall(text) for p in leaves(tree)] for place, text in texts.items()}

    def target(place, path, depth=0):
        """The file that `path` leads to where it stands in the file at `place`."""
        here = {"crate": (), "super": place[:-1], "self": place}.get(path[0])
        if here is None and (*place, path[0]) not in texts or depth > 9:
            return None
        here, rest = (place, path) if here is None else (here, path[1:])
        for position, name in enumerate(rest):
            if (*here, name) not in texts:
                through = [other for other in used[here] if other[-1] == name]
                ends = [target(here, other + rest[position + 1 :], depth + 1) for other in through]
                return ends[0] if ends and ends[0] is not None else here
            here = (*here, name)
        return here

    graph = {}
    for place, text in texts.items():
        paths = used[place] + [path.split("::") for path in INLINE.findall(USE.sub("", text))]
        graph[place] = {target(place, path) for path in paths} - {None, place}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ", which is used by ".join("/".join(place) or root for place in error.args[1])


found = {crate: circle(crate) for crate in sys.argv[1:]}
print(*(f"{crate}: {files or 'no circle of files'}" for crate, files in found.items()), sep="\n")
sys.exit(any(found.values()))
