"""The meaning of every stored number, in one vocabulary; each file of numbers holds the definitions that it needs."""

# Fields that result rows and evaluations share.
_SHARED = {
    "bits": "length of the codes",
    "map": "mean over queries of average precision, exact expectation over random order of equal Hamming distances; "
    "divided by min(relevant rows, map_at)",
    "map_at": "ranks that count; null for all",
    "map_stable": "the same with equal distances in database order",
    "map_pessimistic": "the same with every tie broken against the query",
    "map_optimistic": "the same with every tie broken for the query",
    "map_interval": "lower and upper end of the 95 % percentile bootstrap interval of map over queries (1,000 "
    "resamples, seed 0 unless said otherwise), the codes as they are",
    "precision_radius2": "mean precision within Hamming distance 2, an empty ball counting 0",
    "empty_balls": "share of queries without any row within distance 2",
    "n_query": "queries that count; those without any relevant row are left out and counted in "
    "n_query_without_relevant",
    "n_query_without_relevant": "queries left out because no row of the database shares a label with them",
    "n_database": "rows of the database",
}

# What a row is about, in metrics.json and eval.json of a run.
_SUBJECT = {
    "method": "hashing method that made the codes",
    "role": "pool: all bits of the pool; selected: the bits that a selector chose from it; direct: an encoder trained "
    "at this length",
    "selector": "how the bits were chosen from the pool; none: no choice",
    "pool_bits": "length of the codes before the choice",
    "dataset": "name of the data",
    "protocol": "rules by which the data were split into queries, training rows and database",
    "seed": "seed of the split and of all stages",
    "encoder": "network that maps inputs to codes",
}

ROW_DEFINITIONS = {
    **_SUBJECT,
    **_SHARED,
    "map_sd": "standard deviation (n - 1) over num_draws random selections; the row's other numbers are their means, "
    "and map_interval is left out",
    "num_draws": "random selections that the row is the mean of",
    "seconds": "wall time of the row's own stage on the machine in run.json",
}

EVALUATION_DEFINITIONS = {
    **_SUBJECT,
    **_SHARED,
    "n_query_unlabelled": "queries without a label (negative class, or all zeros); they are among the ones left out",
    "n_database_unlabelled": "rows of the database without a label; they are relevant to nothing",
    "labels": "integer: relevant means the same class; multi_hot: relevant means at least one common label",
    "bootstrap": "of map_interval: level, number of resamples, and seed",
    "by_denominator": "map, its ties and its interval under each denominator",
    "by_denominator.min": "denominator min(relevant rows, map_at), as in map itself; a query with nothing relevant in "
    "the first map_at counts 0",
    "by_denominator.all": "denominator relevant rows of the database, however few ranks count",
    "by_denominator.retrieved": "denominator relevant rows among the first map_at, which most hashing repositories "
    "use; a query without any counts 0, and map_pessimistic and map_optimistic are the smallest and largest value that "
    "any order of ties reaches, query by query",
    "by_rank": "expected precision (P@N), recall and, for multi-hot labels, NDCG among the first N rows, for each N "
    "of rank; the gain of NDCG is the number of common labels, the discount 1 / log2(rank + 1), the ideal order that "
    "of the whole database",
    "precision_recall_by_rank": "mean expected precision and mean expected recall among the first N rows, for a grid "
    "of ranks",
    "precision_recall_by_radius": "mean precision (P@H<=r) and mean recall of the rows within Hamming distance r, an "
    "empty ball counting 0; empty_balls is the share of queries without any row within r",
    "reproduce": "mAP as the named repository would print it for these codes, over all queries or those with a hit "
    "(hitless: zero or skip), with its ranks (top_k, null for all; drops_last where it loses the last row), ties and "
    "denominator; a value goes with others of the same name only",
    "reproduce_left_out": "conventions that cannot be applied to this database, and why",
    "asymmetric": "map by denominator where the database is ordered by the inner product of the query's logits with "
    "the rows' signs, equal scores in database order; not to be compared with Hamming ranking",
    "code_health.balance": "share of ones of each bit; 0.5 is balanced",
    "code_health.bit_entropy": "-p log2 p - (1 - p) log2 (1 - p) of each bit, at most 1",
    "code_health.constant_bits": "positions of bits that are the same in every row",
    "code_health.correlation": "phi coefficient of pairs of bits that are not constant: mean and largest absolute "
    "value, the pair that has it, and the number of pairs that are equal or opposite throughout; null without a pair",
    "code_health.distinct_codes": "codes that occur, each of them a bucket of the rows that have it",
    "code_health.mean_bucket": "rows of a bucket on average",
    "code_health.largest_bucket": "rows of the fullest bucket",
    "code_health.rows_alone": "rows whose code no other row has",
    "code_health.code_entropy": "bits of information in the code of a random row, at most log2 of the rows",
    "code_health.buckets": "number of buckets by number of rows",
    "code_health.collisions": "unordered pairs of rows with equal codes: all of them, those that share a label, those "
    "that do not, and the share of the former; null without a pair",
    "seconds": "wall time of the evaluation",
}

ROBUSTNESS_DEFINITIONS = {
    "attack": "what was done to each image",
    "strength": "of the attack, in its unit",
    "unit": "unit of strength",
    "hasher": "name of the hash",
    "bits": "length of its codes, K",
    "n": "images, each with one attacked copy",
    "n_different": "pairs of different images",
    "mean_distance": "mean Hamming distance of an image to its copy",
    "mean_different": "mean Hamming distance of two different images",
    "xi": "threshold: the largest distance at which at most max_false_positive_rate of the pairs of different images "
    "are taken for copies; -1 if there is none",
    "max_false_positive_rate": "the rate that xi was chosen for",
    "false_positive_rate": "share of the pairs of different images within xi",
    "detection_rate": "share of the copies within xi of their image",
    "eer": "equal error rate: the rate at which as many copies are missed as different images are taken for copies",
    "auc": "area under the curve of detection_rate against false_positive_rate",
}
