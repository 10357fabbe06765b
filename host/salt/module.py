"""
Stores what Salt returned as the returner ``NAME`` of a host of ``returner``, and answers what
was stored. The options are in ``_returner_host.py``, beside this file.

Written by ``returner salt install``; changes made here are lost when it is run again.
"""

import importlib

import _returner_host

# A minion goes on without a restart when its modules are synchronised.
importlib.reload(_returner_host)

__virtualname__ = "NAME"
__virtual_aliases__ = (OTHERS)


def __virtual__():
    return __virtualname__


def _host():
    return _returner_host.Returner(__virtualname__, __opts__)


def returner(ret):
    """Stores what a minion returned. If the host is away it is kept, and sent later."""
    _host().returner(ret)


def prep_jid(nocache=False, passed_jid=None):  # pylint: disable=unused-argument
    """A new job id, or the one that is passed."""
    return _host().prep_jid(nocache, passed_jid)


def save_load(jid, load, minions=None):
    """Stores what was published. Of several loads of a job the first one stays."""
    _host().save_load(jid, load, minions)


def save_minions(jid, minions, syndic_id=None):
    """Adds minions that a syndic has found for a job."""
    _host().save_minions(jid, minions, syndic_id)


def get_load(jid):
    """What was published as this job; ``{}`` if nothing was."""
    return _host().get_load(jid)


def get_jid(jid):
    """What each minion returned to this job."""
    return _host().get_jid(jid)


def get_fun(fun):
    """What each minion returned last of this function."""
    return _host().get_fun(fun)


def get_jids():
    """All jobs."""
    return _host().get_jids()


def get_jids_filter(count, filter_find_job=True):
    """The newest jobs, newest last."""
    return _host().get_jids_filter(count, filter_find_job)


def get_minions():
    """All minions that ever returned something."""
    return _host().get_minions()


def clean_old_jobs():
    """Removes what is older than ``keep_jobs_seconds``."""
    _host().clean_old_jobs()


def update_endtime(jid, time):  # pylint: disable=unused-argument
    """Nothing is left to do: each return was stored with the moment (``job_cache_store_endtime``)."""


def get_endtime(jid):
    """When a job ended, as far as it has."""
    return _host().get_endtime(jid)


def event_return(events):
    """Stores events of the master."""
    _host().event_return(events)
