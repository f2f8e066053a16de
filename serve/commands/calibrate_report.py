"""What `pointsman calibrate` prints."""

from typing import Any

from pointsman.core.counted import counted
from pointsman.core.dollars import dollars

__all__ = ["report"]


def report(result: dict[str, Any]) -> str:
    """The result in sentences."""
    lines = [f"threshold {result['threshold']:.6g}", *_explained(result)]
    if "probability" in result:
        p = result["probability"]
        lines.append(f"ECE {p['ece_before']:.4f}, after the {p['method']} map {p['ece_after']:.4f} (cross-fitted)")
    if result["rule"] != "max_cost_usd" and result.get("always_strong_usd"):
        usd, always = result["cost_usd"], result["always_strong_usd"]
        lines.append(
            f"{dollars(usd)} per thousand prompts, always strong {dollars(always)}: saves {1.0 - usd / always:.1%}"
        )
    if "checkpoint" in result:
        lines.append(f"written to {result['checkpoint']}")
    return "\n".join([*lines, f"holds as long as {result['assumption']}"])


def _explained(result: dict[str, Any]) -> list[str]:
    share = f"{result['strong_share']:.2%} of the prompts go to the strong model"
    if result["rule"] == "strong_share":
        return [f"{share} (wanted {result['wanted']:.2%}; {result['tie_mass']:.2%} are tied at the threshold)"]
    if result["rule"] == "max_cost_usd":
        always = (
            f"always strong {dollars(result['always_strong_usd'])}, always weak {dollars(result['always_weak_usd'])}"
        )
        saved = 1.0 - result["cost_usd"] / (result["always_strong_usd"] or 1.0)
        return [share, f"{dollars(result['cost_usd'])} per thousand prompts ({always}): saves {saved:.1%}"]
    bound = f"a mean loss of at most {result['wanted']:g} with {result['confidence']:.1%} confidence"
    if result["certified"]:
        return [f"{share}, on {counted(result['n_labels'], 'label')}", f"{bound}; measured loss {result['loss']:.4f}"]
    needed = result["labels_needed"]
    remedy = (
        f"about {needed:,} labels would be needed to certify any other"
        if needed is not None
        else "more labels would not help: as measured, every other threshold of this router loses more"
    )
    return [f"nothing but always strong guarantees {bound} on {counted(result['n_labels'], 'label')}", remedy]
