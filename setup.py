"""Packaging of mailrelay; the settings of the tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """Return `__version__` of the package, read as text so that nothing is imported."""
    text = (HERE / "mailrelay" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r"""^__version__\b[^=\n]*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    if found is None:
        raise RuntimeError("mailrelay/__init__.py sets no __version__")
    return found.group(1)


def long_description() -> str:
    """Return the README, or nothing where there is none."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="mailrelay",
    version=version(),
    description="An all-in-one mail server in Python on Twisted",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="the mailrelay authors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Framework :: Twisted",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Communications :: Email :: Mail Transport Agents",
    ],
    python_requires=">=3.11",
    # With "" mapped, an editable install puts this directory itself on the path, which is
    # how Twisted finds twisted/plugins there.
    package_dir={"": "."},
    # twisted/plugins has no __init__.py and there is no "twisted" here, so all that is
    # installed of it is the one module, next to Twisted's own plugins.
    packages=[*find_packages(include=["mailrelay", "mailrelay.*"]), "twisted.plugins"],
    package_data={
        "mailrelay": [
            "py.typed",
            "storage/migrations/**/*",
            "**/templates/**/*",
            "**/static/**/*",
            "**/*.css",
            "**/*.html",
            "**/*.js",
            "**/*.svg",
        ],
    },
    exclude_package_data={"": ["__pycache__/*", "**/__pycache__/*", "*.pyc"]},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "mailrelay = mailrelay.cli.main:main",
            "mailrelay-sendmail = mailrelay.cli.sendmail:main",
            "mailrelay-post = mailrelay.handoff.post:main",
        ],
    },
    install_requires=[
        "acme",
        "alembic",
        "argon2-cffi",
        "attrs",
        "click",
        "cryptography",
        "dnspython",
        "idna",
        "jinja2>=3.1",
        "josepy",
        "klein",
        "markupsafe>=3",
        "msgspec",
        "multipart>=2",
        "nh3",
        "prometheus_client",
        "publicsuffixlist",
        "pyOpenSSL",
        "requests",
        "rich",
        "scramp",
        "segno",
        "service-identity",
        "SQLAlchemy>=2.1",
        "tomli-w",
        "treq",
        "twisted[tls]>=26.4",
    ],
    extras_require={
        "postgres": ["psycopg[binary]>=3.2"],
        "test": [
            "authres",
            "axe-playwright-python",
            "coverage[toml]>=7.10",
            "dkimpy[ed25519]",
            "hypothesis",
            "playwright",
            "pytest>=8",
            "pytest-randomly",
            "pytest-xdist",
            "PyYAML",
            "schemathesis>=4",
        ],
        # Bounded, so that a new release of a tool does not fail a change that is not at fault.
        "lint": [
            "mypy>=2.4,<2.5",
            "mypy-zope",
            "ruff>=0.17,<0.18",
            "towncrier",
        ],
    },
)
