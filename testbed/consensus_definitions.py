"""What the numbers of a result's `consensus` and `propagation` parts mean."""

from __future__ import annotations

from testbed.definition import DW13, GERVAIS16, GKL15, Definition
from testbed.shares import MOST_GROUPS, WINDOW

CROMAN16 = "Croman et al., On Scaling Decentralized Blockchains, FC 2016 workshops"
GINI = "Gini 1912; G = Σᵢⱼ|xᵢ-xⱼ|/(2n²x̄)"

CONSENSUS = (
    Definition("consensus.proposed_blocks", "integer", "", "Distinct blocks proposed."),
    Definition("consensus.committed_blocks", "integer", "", "Blocks committed by at least one honest replica."),
    Definition(
        "consensus.pending_blocks", "integer", "", "Committed blocks that some replica of their base lacks at the end."
    ),
    Definition(
        "consensus.stale_blocks",
        "integer",
        "",
        "Blocks off the final chain, up to the highest final height.",
        GERVAIS16,
    ),
    Definition(
        "consensus.fork_rate",
        "rate",
        "",
        "Share of heights, up to the highest final one, with two or more blocks; predicted 1-e^(-λD).",
        DW13,
    ),
    Definition(
        "consensus.stale_rate",
        "rate",
        "",
        "Stale blocks of all blocks up to that height; predicted λD/(1+λD).",
        GERVAIS16,
    ),
    Definition(
        "consensus.max_reorg_depth", "integer", "blocks", "Most blocks a replica abandoned at one change of its tip."
    ),
    Definition("consensus.finality_ms", "summary", "ms", "Proposal to commit at the median replica of the base."),
    Definition("consensus.finality_first_ms", "summary", "ms", "The same at the first replica to commit."),
    Definition(
        "consensus.finality_quorum_ms",
        "summary",
        "ms",
        "The same at the quorum-th replica (the last one where there are no quorums).",
    ),
    Definition("consensus.finality_last_ms", "summary", "ms", "The same at the last replica of the base."),
    Definition("consensus.block_interval_ms", "summary", "ms", "Between proposals of neighbours on the final chain."),
    Definition(
        "consensus.chain_growth_per_s",
        "number",
        "1/s",
        "Final blocks per second of virtual time; of the blocks made, 1 - stale_rate.",
        GKL15,
    ),
    Definition(
        "consensus.view_changes", "integer", "", "Views that some replica entered because the last was given up."
    ),
    Definition("consensus.views_per_block", "number", "", "Views entered per committed block."),
    Definition("consensus.transactions_per_s", "number", "1/s", "Transactions on the final chain per second."),
    Definition(
        "consensus.transaction_latency_ms",
        "summary",
        "ms",
        "A transaction's submission to the commit of its block at the median replica, of those that became final.",
    ),
    Definition(
        "consensus.chain_quality",
        "object",
        "",
        f"Share of blocks on the final chain whose proposer is honest: min and mean over all windows of k = {WINDOW} "
        "blocks in a row (null in a shorter chain), and of the whole chain.",
        GKL15,
    ),
    Definition(
        "consensus.leader_share_ratio",
        "object",
        "",
        "A replica's share of the final chain ÷ its share of power; min and max over replicas with power; 1 is fair.",
        GERVAIS16,
    ),
    Definition(
        "consensus.leader_share_gini",
        "number",
        "",
        "Gini coefficient of replicas' shares of the final chain over their shares of power; 0 is fair.",
        GINI,
    ),
    Definition(
        "consensus.plane_share",
        "object",
        "",
        "Where members are in orbital planes: how many planes; share of the final chain ÷ share of power (min and max) "
        "and its Gini coefficient over planes; and the share of each plane (SHELL/PLANE), satellites of element sets "
        f"by shell and others by place, if there are at most {MOST_GROUPS}.",
        GINI,
    ),
)
PROPAGATION = (
    *(
        Definition(
            f"propagation.t{share}_ms",
            "summary",
            "ms",
            f"Proposal until {share} % of the base hold the full valid block and its ancestors.",
            DW13,
        )
        for share in (50, 90, 99, 100)
    ),
    Definition("propagation.pooled_ms", "summary", "ms", "The same over all pairs of block and base replica.", DW13),
    Definition(
        "propagation.mean_weighted_ms",
        "number",
        "ms",
        "∫(1-f)dt over the coverage curve f: the power-weighted mean time to hold a block.",
        DW13,
    ),
    *(
        Definition(
            f"propagation.effective{share}_mbps",
            "summary",
            "Mbit/s",
            f"{share} %-effective throughput: a block's transactions ÷ its t{share}, over blocks with transactions "
            f"whose t{share} is not 0.",
            CROMAN16,
        )
        for share in (50, 90)
    ),
    Definition(
        "propagation.by_place",
        "object",
        "ms",
        "Where members are in more than one class of place (orbit, ground, terrestrial): t50, t90 and t100 among those "
        "of the base that are in each.",
        DW13,
    ),
)
