"""What the numbers of a result's `workload` part mean: key, type, unit, meaning, source of each."""

RFC2647 = "goodput as in RFC 2647, section 3.17"
LITTLE61 = "Little, Operations Research 9, 1961: only without growth is there a mean number waiting, and a mean wait"
LAW_KELTON = "batch means, Law and Kelton, Simulation Modeling and Analysis, chapter 9"

WORKLOAD = (
    ("submitted", "integer", "", "Transactions that were submitted, whatever became of them."),
    ("submitted_per_s", "number", "1/s", "The same per second of virtual time: the offered load."),
    (
        "dropped",
        "object",
        "",
        "Transactions that no mempool took in: mempool_full, or lost on their way for a reason of network.drops.",
    ),
    ("final", "integer", "", "Transactions on the final chain that the median replica committed."),
    ("final_share", "number", "", "final ÷ submitted: whom consensus.transaction_latency_ms is about."),
    ("to_replica_ms", "summary", "ms", "Submission to the mempool of the replica where it entered."),
    ("in_mempool_ms", "summary", "ms", "From there to the proposal of its block."),
    ("in_consensus_ms", "summary", "ms", "From there to the commit at the median replica."),
    ("goodput_bytes_per_s", "number", "B/s", "Bytes of transactions on the final chain per second.", RFC2647),
    (
        "goodput_share",
        "number",
        "",
        "The same bytes ÷ all that replicas and clients sent, as network.egress_mbps counts it; over MQTT ÷ "
        "network.bytes. More than 1 if compact blocks refer to transactions that nobody had to send.",
        RFC2647,
    ),
    ("backlog", "integer", "", "At the end: submitted, neither dropped nor final."),
    (
        "backlog_growth_per_s",
        "number",
        "1/s",
        "Mean growth, over ten equal pieces of the run's second half, of the transactions that are submitted and "
        "neither lost nor final; those that full mempools refused are among them.",
        LITTLE61,
    ),
    ("backlog_growth_se", "number", "1/s", "Its standard error, from the scatter of the ten.", LAW_KELTON),
    (
        "stable",
        "boolean or null",
        "",
        "Whether that growth is at most 2.262 standard errors (Student's t, 97.5 %, 9 degrees of freedom); null if no "
        "block was final before the second half, or if not even a standstill would be significant.",
        LAW_KELTON,
    ),
)
