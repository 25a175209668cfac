"""Personal information: sites full of it are removed, the rest is redacted.

Source: Llama 2 (arXiv:2307.09288) section 2.1: "we made an effort to remove data from certain sites known to contain
a high volume of personal information about private individuals". The paper names neither sites nor a measure. Here a
site is a registrable domain, and its measure is the number of distinct findings per 1000 words.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arriero.config import config, setting
from arriero.data.documents import with_columns, with_edits
from arriero.data.hashing import hash64
from arriero.data.pii_detectors import Finding, find_in_bytes
from arriero.data.sites import site_of
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


def web_sites(table: pa.Table) -> list[str | None]:
    """The site of each web document, None for any other."""
    web = [kind == SourceKind.WEB for kind in table["kind"].to_pylist()]
    return [site_of(url) if is_web else None for url, is_web in zip(table["url"].to_pylist(), web, strict=True)]


FINDINGS_SCHEMA = pa.schema([("site", pa.string()), ("finding", pa.uint64())])
WORDS_SCHEMA = pa.schema([("site", pa.string()), ("words", pa.int64())])


class PiiScan:
    """Redacts documents, and keeps count of what was found on web sites, and of their words."""

    def __init__(self, cfg: PiiConfig) -> None:
        self.cfg = cfg
        self._findings: set[tuple[str, int]] = set()
        self._words: Counter[str] = Counter()

    def redact(self, table: pa.Table) -> pa.Table:
        """`table` with each finding replaced by its placeholder. Nothing is dropped."""
        texts = table["text"].cast(pa.large_binary())
        sites = web_sites(table)
        self._count_words(table, sites)
        edits, redacted, held = [""] * len(table), [], np.zeros(len(table), dtype=bool)
        for row, text in enumerate(texts):
            data = text.as_py()
            if not (findings := find_in_bytes(data, self.cfg.phone_region)):
                continue
            held[row] = True
            redacted.append(_redact_bytes(data, findings))
            kinds = Counter(finding.kind for finding in findings)
            edits[row] = "pii " + " ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
            if (site := sites[row]) is not None:
                self._findings.update((site, hash64(data[finding.start : finding.end])) for finding in findings)
        text = pc.replace_with_mask(texts, pa.array(held), pa.array(redacted, pa.large_binary()))
        return with_edits(with_columns(table, text=text), edits)

    def _count_words(self, table: pa.Table, sites: list[str | None]) -> None:
        if any(sites):
            words = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(table["text"])))
            for site, count in zip(sites, words.to_pylist(), strict=True):
                if site is not None:
                    self._words[site] += count

    def findings(self) -> pa.Table:
        """Each finding of a site once."""
        rows = sorted(self._findings)
        return pa.table([[site for site, _ in rows], [found for _, found in rows]], schema=FINDINGS_SCHEMA)

    def words(self) -> pa.Table:
        """Words of each site's documents."""
        rows = sorted(self._words.items())
        return pa.table([[site for site, _ in rows], [count for _, count in rows]], schema=WORDS_SCHEMA)


def crowded_sites(findings: pa.Table, words: pa.Table, cfg: PiiConfig) -> list[str]:
    """The sites to remove whole: enough distinct findings, and more of them per 1000 words than the threshold.

    The tables hold the findings and words of any number of parts of a corpus, one below the other.
    """
    distinct = findings.group_by(["site", "finding"]).aggregate([]).group_by("site").aggregate([([], "count_all")])
    total = words.group_by("site").aggregate([("words", "sum")])
    joined = distinct.join(total, "site")
    many = pc.greater_equal(joined["count_all"], cfg.min_findings)
    dense = pc.greater(
        pc.multiply(joined["count_all"], 1000.0), pc.multiply(joined["words_sum"], cfg.max_per_1000_words)
    )
    return sorted(joined.filter(pc.and_(many, dense))["site"].to_pylist())


def in_bucket(table: pa.Table, bucket: int, buckets: int) -> pa.Table:
    """The rows of the sites that fall into one of `buckets` parts."""
    if buckets == 1 or not len(table):
        return table
    sites = table["site"].combine_chunks().dictionary_encode()
    mine = np.array([hash64(site.encode()) % buckets == bucket for site in sites.dictionary.to_pylist()])
    return table.filter(pa.array(mine[np.asarray(sites.indices)]))
