"""
What comes of each test of Salt's own that asks something of a job cache: it passes, or why it
does not apply to the host's modules.
"""

PASSES = None

SCHEMA = "it looks into tables of another shape than Salt's `mysql`, `sqlite3` and ours have"
ANSWERS = "it wants the question not to be answered, which that returner of Salt's cannot"
RETURN = "its return has no `fun`, which the host refuses and Salt's `mysql` raises a KeyError for"
LOAD = "its load has no `fun`, which nothing that is published lacks, and which the host refuses"
SALT = "3008.3 lists the run that asks, and fails it with its own `local_cache`, too"
SERVER = "it asks which version of PostgreSQL its own container runs"

FILES = {
    # A real master with a minion: `salt-run jobs.*`.
    "tests/pytests/integration/runners/test_jobs.py": {
        "test_master": SALT,
        "test_active": PASSES,
        "test_lookup_jid": PASSES,
        "test_lookup_jid_invalid": PASSES,
        "test_list_jobs": PASSES,
        "test_target_info": PASSES,
        "test_jobs_runner": PASSES,
        "test_target_info_salt_call": PASSES,
    },
    "tests/pytests/functional/returners/test_salt_cache_integration.py": {
        "test_loader_resolves_salt_cache": PASSES,
        "test_save_load_routes_through_salt_cache": PASSES,
        "test_store_job_routes_through_salt_cache": RETURN,
        "test_store_minions_routes_through_salt_cache": PASSES,
        "test_get_load_round_trips_through_returner_dispatch": PASSES,
    },
    "tests/pytests/functional/returners/test_sqlalchemy.py": {
        "test_returner_inserts": PASSES,
        "test_event_return_inserts": PASSES,
        "test_save_load_inserts": LOAD,
        "test_get_load_returns": LOAD,
        "test_get_jid_returns": PASSES,
        "test_prep_jid_returns_unique": PASSES,
        "test_save_minions_noop": PASSES,
        "test_get_fun_raises": ANSWERS,
        "test_get_jids_raises": ANSWERS,
        "test_get_minions_raises": ANSWERS,
        "test_clean_old_jobs": SCHEMA,
    },
    "tests/pytests/functional/returners/test_postgres_local_cache.py": {
        "test_save_load_persists_row": PASSES,
        "test_save_load_duplicate_jid_is_idempotent": PASSES,
        "test_save_load_uses_on_conflict_on_pg_95_or_newer": SERVER,
    },
}
