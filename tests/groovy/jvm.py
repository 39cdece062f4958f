"""Java and Groovy as the tests run them: jars from Maven, our library compiled, programs started.

Owns where the jars are kept and how a program is started; knows nothing of what programs do.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

HERE = Path(__file__).parent
LIB = HERE.parents[1] / "qupath_scripts" / "lib"
PROGRAMS = HERE / "programs"
COMPILE = PROGRAMS / "compile.groovy"
STUBS = HERE / "stubs"
SLIPS = HERE / "slips"

GROOVY_VERSIONS = ("4.0.15", "4.0.26", "5.0.4")
"""Those of QuPath 0.5, 0.6 and 0.7: each checks types in its own way."""

PLAYED_VERSIONS = GROOVY_VERSIONS[0], GROOVY_VERSIONS[-1]
"""Those that programs run under, beside being compiled."""

JAVA_LEAST = 17
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Dfile.encoding=UTF-8")
"""Programs live for seconds: what the JVM would gain by more compilation is never paid back."""

_FETCH_S, _COMPILE_S = 280, 240


class LackingError(Exception):
    """The machine lacks what Groovy programs need; says what."""


def find_java() -> str:
    """Return the path of a Java of at least version 17.

    Raises
    ------
    LackingError
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    java = java or shutil.which("java")
    if java is None:
        raise LackingError("there is no java on the PATH: install Java 17 or later")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found[1]) < JAVA_LEAST:
        raise LackingError(f"{java} is older than Java 17: install a later one")
    return java


def fetch_jars(groovy: str) -> Path:
    """Return a folder with the jars of pom.xml, fetched where they were not yet.

    They are kept beside the Python packages, in a folder named by what pom.xml says.

    Raises
    ------
    LackingError
        Without Maven, or if it cannot get them.
    """
    pom = HERE / "pom.xml"
    key = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    kept = Path(sys.prefix) / "groovy" / f"{groovy}-{key}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        if not kept.is_dir():
            _fetch(pom, groovy, kept)
    return kept


def _fetch(pom: Path, groovy: str, kept: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise LackingError("there is no mvn on the PATH: install Maven")
    with tempfile.TemporaryDirectory(dir=kept.parent) as unfinished:
        options = (f"-Dgroovy.version={groovy}", f"-DoutputDirectory={unfinished}/jars")
        done = subprocess.run(
            [maven, "-B", "-q", "-f", pom, *options, _PLUGIN],
            capture_output=True,
            text=True,
            timeout=_FETCH_S,
            check=False,
        )
        if done.returncode:
            raise LackingError(f"Maven cannot get the jars: {done.stdout[-2000:]}{done.stderr}")
        (Path(unfinished) / "jars").rename(kept)


@dataclass(frozen=True)
class Groovy:
    """One version of Groovy with our library.

    Attributes
    ----------
    version : str
    java : str
        Path of the program.
    jars : Path
        Folder with everything that pom.xml names.
    classes : Path
        Folder of our library and of programs, compiled.
    """

    version: str
    java: str
    jars: Path
    classes: Path

    @property
    def stubs(self) -> Path:
        """Folder of the stubs, compiled: what the library is linked against without QuPath."""
        return self.classes.with_name(f"{self.classes.name}-stubs")

    def compile(self, *steps: tuple[str, Path, Path]) -> str:
        """Compile all sources below folders; return what the compiler complained about.

        Parameters
        ----------
        *steps : tuple of str, Path, Path
            Mode, folder of sources, folder for class files, which later steps see. Mode "plain";
            "typed": as if every class had @TypeChecked; "slips": as typed, and what is there must
            be refused.
        """
        words = [str(word) for step in steps for word in step]
        done = subprocess.run(
            [*self.command(), "groovy.ui.GroovyMain", str(COMPILE), f"{self.jars}/*", *words],
            capture_output=True,
            text=True,
            timeout=_COMPILE_S,
            check=False,
        )
        return done.stderr if done.returncode else ""

    def command(self, *classpath: Path, options: tuple[str, ...] = ()) -> list[str]:
        """Return the command that runs a class whose name, and arguments, follow."""
        path = os.pathsep.join([f"{self.jars}/*", *map(str, classpath)])
        return [self.java, *_QUICK, *options, "-cp", path]

    def start(self, program: str, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        """Start a program of `programs/` with our library; text in UTF-8 in and out.

        Parameters
        ----------
        program : str
        *arguments
        **options
            Of Popen.
        """
        command = [*self.command(self.classes), program, *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        return subprocess.Popen(command, **{**pipes, **options})
