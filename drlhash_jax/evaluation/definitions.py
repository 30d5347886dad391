"""The meaning of every number of an evaluation, stored beside it."""

DEFINITIONS = {
    "n_query": "queries that share a label with at least one row of the database; every mean is over these, but for "
    "those of reproduce",
    "n_query_without_relevant": "queries left out because no row of the database shares a label with them",
    "n_query_unlabelled": "queries without a label (negative class, or all zeros); they are among the ones left out",
    "n_database": "rows of the database",
    "n_database_unlabelled": "rows of the database without a label; they are relevant to nothing",
    "labels": "integer: relevant means the same class; multi_hot: relevant means at least one common label",
    "map": "mean average precision of ranking the database by Hamming distance: the precision at the rank of each "
    "relevant row among the first map_at, summed and divided by the denominator",
    "map_at": "ranks that count; null for all",
    "map.min": "denominator min(relevant rows, map_at); a query with nothing relevant in the first map_at counts 0",
    "map.all": "denominator relevant rows of the database, however few ranks count",
    "map.retrieved": "denominator relevant rows among the first map_at, which most hashing repositories use; a query "
    "without any counts 0",
    "map.*.expected": "exact mean over random orders of equal distances",
    "map.*.optimistic": "largest value that an order of equal distances reaches, query by query",
    "map.*.pessimistic": "smallest value that an order of equal distances reaches, query by query",
    "map.*.stable": "equal distances in database order",
    "map_interval": "percentile bootstrap interval of map.*.expected over queries, the codes as they are: level, "
    "resamples and seed beside it",
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
    "asymmetric": "not Hamming ranking: the database ordered by the inner product of the query's logits with the "
    "rows' signs, equal scores in database order; the denominators are those of map",
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
