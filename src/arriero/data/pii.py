"""Personal information: sites full of it are removed, the rest is redacted.

Source: Llama 2 (arXiv:2307.09288) section 2.1: "we made an effort to remove data from certain sites known to contain
a high volume of personal information about private individuals". The paper names neither sites nor a measure. Here a
site is a registrable domain, and its measure is the number of distinct findings per 1000 words.
"""

from collections import defaultdict
from functools import partial
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tld import get_fld

from arriero.config import config, setting
from arriero.data.documents import Step, with_columns
from arriero.data.pii_detectors import Finding, find_in_bytes
from arriero.data.sources import SourceKind


@config
class PiiConfig:
    """Removal of sites with much personal information, and redaction of the rest."""

    max_per_1000_words: float = setting(
        2.0, "a web site with more distinct findings than this is removed whole", unit="findings per 1000 words", ge=0
    )
    min_findings: int = setting(10, "a site with fewer distinct findings is never removed", ge=1)
    phone_region: str = setting("US", "country whose national phone numbers (without +) are recognised", min_length=2)


def find_pii(text: str, phone_region: str = "US") -> list[Finding]:
    """Findings in the order of the text, not overlapping."""
    return find_in_bytes(text.encode(), phone_region)


def redact(text: str, findings: list[Finding]) -> str:
    """`text` with each finding replaced by a placeholder such as [EMAIL]."""
    return _redact_bytes(text.encode(), findings).decode()


def _redact_bytes(data: bytes, findings: list[Finding]) -> bytes:
    parts, last = [], 0
    for finding in findings:
        parts += [data[last : finding.start], f"[{finding.kind}]".encode()]
        last = finding.end
    return b"".join([*parts, data[last:]])


def site_of(url: str) -> str:
    """The registrable domain of a URL; the host's last two labels where the public suffix list knows none."""
    known = get_fld(url, fail_silently=True)
    if known:
        return str(known)
    host = urlsplit(url).hostname or url
    return host if host.replace(".", "").isdigit() else ".".join(host.split(".")[-2:])


def clean_pii(table: pa.Table, cfg: PiiConfig) -> pa.Table:
    """Drops all web documents of a site whose density is above the threshold (`pii_site`); redacts all others."""
    texts = table["text"].cast(pa.large_binary())
    found = {
        row: findings for row, text in enumerate(texts) if (findings := find_in_bytes(text.as_py(), cfg.phone_region))
    }
    removed = _sites_above(table, texts, found, cfg)
    reasons = ["pii_site" if _site(table, row) in removed else None for row in range(len(table))] if removed else None
    held = np.zeros(len(table), dtype=bool)
    held[list(found)] = True
    redacted = [_redact_bytes(texts[row].as_py(), findings) for row, findings in found.items()]
    text = pc.replace_with_mask(texts, pa.array(held), pa.array(redacted, pa.large_binary()))
    return with_columns(table, text=text, reason=reasons or pa.nulls(len(table)))


def _site(table: pa.Table, row: int) -> str | None:
    """The site of a web document, None for any other."""
    return site_of(table["url"][row].as_py()) if table["kind"][row].as_py() == SourceKind.WEB else None


def _sites_above(
    table: pa.Table, texts: pa.ChunkedArray, found: dict[int, list[Finding]], cfg: PiiConfig
) -> set[str | None]:
    """Web sites with enough distinct findings, and more of them per 1000 words than the threshold."""
    distinct: dict[str | None, set[bytes]] = defaultdict(set)
    for row, findings in found.items():
        data = texts[row].as_py()
        distinct[_site(table, row)].update(data[finding.start : finding.end] for finding in findings)
    many = {site for site, values in distinct.items() if site is not None and len(values) >= cfg.min_findings}
    words: dict[str | None, int] = defaultdict(int)
    for row in range(len(table)) if many else ():
        site = _site(table, row)
        if site in many:
            words[site] += len(texts[row].as_py().decode().split())
    return {site for site in many if 1000 * len(distinct[site]) > cfg.max_per_1000_words * words[site]}


def pii_step(cfg: PiiConfig) -> Step:
    return Step("pii", partial(clean_pii, cfg=cfg), whole=True)
