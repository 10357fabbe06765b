"""
What comes of each of Salt's own tests that asks something of a job cache or of a returner that
the host stands in for: it passes, or why it does not apply to the host's modules. `*` is for
all others of a file. One version or the other does not have some of the files and tests.
"""

PASSES = ""
NOT_LISTED = "it is not listed"

FILES_OF_SALT = "it looks at the files of `local_cache`, and the host has a database"
CALLS = "it looks at which calls of its own driver Salt's module makes"
POOL = "it wants a pool of Salt's module; `suite/salt/from_minion.rs` tries that name of the module"
# These do not run.
ASK_NOTHING = (FILES_OF_SALT, CALLS, POOL)

RETURN = "its return has no `fun`, which the host refuses and Salt's `mysql` raises a KeyError for"
SERVER = "it asks which version of PostgreSQL its own container runs"
NETWORK = "`prep_jid` never asks the network: it looks no id up, and marks none"
MATCHED = "the master says to whom it published, and the host asks nobody else"
LEGACY = "it writes what that returner of Salt's once wrote"
ENDTIME = "the end is that of the last return (`job_cache_store_endtime`), and `False` before, as `local_cache` has it"
AGE = "how old a job is, its id says, and those are no times"

FILES = {
    # A real master with a minion: `salt-run jobs.*`.
    "tests/pytests/integration/runners/test_jobs.py": {"*": PASSES},
    "tests/pytests/functional/returners/test_salt_cache_integration.py": {
        "*": PASSES,
        "test_store_job_routes_through_salt_cache": RETURN,
    },
    "tests/pytests/functional/returners/test_postgres_local_cache.py": {
        "*": PASSES,
        "test_save_load_uses_on_conflict_on_pg_95_or_newer": SERVER,
    },
    "tests/pytests/functional/utils/test_job.py": {"*": FILES_OF_SALT},
    "tests/pytests/unit/returners/test_salt_cache.py": {
        "*": PASSES,
        "test_prep_jid_retries_on_collision": NETWORK,
        "test_prep_jid_records_nocache_marker": NETWORK,
        "test_returner_persists_minion_return": RETURN,
        "test_returner_includes_out_when_present": RETURN,
        "test_returner_drops_duplicate_minion_returns": RETURN,
        "test_save_load_computes_matched_minions_when_not_supplied": MATCHED,
        "test_get_jid_returns_every_minion_record": RETURN,
        "test_get_jid_wraps_legacy_v1_payloads": LEGACY,
        "test_endtime_round_trips": ENDTIME,
        "test_get_endtime_returns_none_for_unknown_jid": ENDTIME,
        "test_clean_old_jobs_drops_aged_entries": AGE,
    },
    "tests/pytests/unit/returners/local_cache/test_local_cache.py": {
        "*": FILES_OF_SALT,
        "test_save_load_concurrent_writes": PASSES,
        "test_get_load_returns_merged_minions": PASSES,
    },
    "tests/pytests/unit/returners/local_cache/test_local_cache_clean_old_jobs.py": {"*": FILES_OF_SALT},
    "tests/pytests/unit/returners/test_mysql.py": {"*": PASSES},
    "tests/pytests/unit/returners/test_redis_return.py": {
        "*": CALLS,
        "test_virtual_aliases_register_redis_return_name": POOL,
    },
}


def reason(file, name):
    """Why a test does not apply; empty if it does."""
    listed = FILES.get(file, {})
    return listed.get(name.partition("[")[0], listed.get("*", NOT_LISTED))
