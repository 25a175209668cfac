"""Risk categories, attack vectors and safety bins (Llama 2, sections 4.2.1 and A.3.1)."""

from enum import StrEnum


class RiskCategory(StrEnum):
    """What a reckless answer could cause (section 4.2.1)."""

    ILLICIT = "illicit_and_criminal"
    HATEFUL = "hateful_and_harmful"
    UNQUALIFIED_ADVICE = "unqualified_advice"


class AttackVector(StrEnum):
    """How a prompt tries to get a bad answer (section 4.2.1)."""

    PSYCHOLOGICAL = "psychological_manipulation"
    LOGIC = "logic_manipulation"
    SYNTACTIC = "syntactic_manipulation"
    SEMANTIC = "semantic_manipulation"
    PERSPECTIVE = "perspective_manipulation"
    NON_ENGLISH = "non_english"
    NONE = "plain_request"


class SafetyBin(StrEnum):
    """Of a comparison's two answers, which are safe. Chosen unsafe and other safe is dropped (section 3.2.1)."""

    CHOSEN_SAFE = "chosen_safe"
    BOTH_SAFE = "both_safe"
    BOTH_UNSAFE = "both_unsafe"


def safety_bin(chosen_safe: bool, rejected_safe: bool) -> SafetyBin | None:
    """The bin, or None for the pair that the paper drops: the chosen answer unsafe and the other safe."""
    if chosen_safe:
        return SafetyBin.BOTH_SAFE if rejected_safe else SafetyBin.CHOSEN_SAFE
    return None if rejected_safe else SafetyBin.BOTH_UNSAFE
