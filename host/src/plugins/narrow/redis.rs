//! Redis: by command and by the keys that it names.

use std::collections::BTreeSet;

use super::Refused;
use crate::config::ANY;

/// Where the keys of a command stand among its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// The word after the command.
    First,
    /// All words after the command.
    All,
    /// Every other word after the command: `MSET k v k v`.
    Pairs,
    None,
}

/// The commands that can be granted, with their keys. One that is not here cannot be granted
/// under a narrowing: it is about the server, about scripts, or its keys stand elsewhere.
/// <https://redis.io/docs/latest/commands/>
fn keys_of(command: &str) -> Option<Keys> {
    Some(match command {
        "APPEND" | "BITCOUNT" | "DECR" | "DECRBY" | "EXPIRE" | "EXPIREAT" | "GEOADD" | "GEODIST"
        | "GEOHASH" | "GEOPOS" | "GET" | "GETBIT" | "GETDEL" | "GETEX" | "GETRANGE" | "GETSET" | "HDEL"
        | "HEXISTS" | "HGET" | "HGETALL" | "HINCRBY" | "HINCRBYFLOAT" | "HKEYS" | "HLEN" | "HMGET"
        | "HMSET" | "HRANDFIELD" | "HSCAN" | "HSET" | "HSETNX" | "HSTRLEN" | "HVALS" | "INCR" | "INCRBY"
        | "INCRBYFLOAT" | "LINDEX" | "LINSERT" | "LLEN" | "LPOP" | "LPOS" | "LPUSH" | "LPUSHX" | "LRANGE"
        | "LREM" | "LSET" | "LTRIM" | "PERSIST" | "PEXPIRE" | "PEXPIREAT" | "PFADD" | "PSETEX" | "PTTL"
        | "RPOP" | "RPUSH" | "RPUSHX" | "SADD" | "SCARD" | "SET" | "SETBIT" | "SETEX" | "SETNX"
        | "SETRANGE" | "SISMEMBER" | "SMEMBERS" | "SMISMEMBER" | "SPOP" | "SRANDMEMBER" | "SREM"
        | "SSCAN" | "STRLEN" | "TTL" | "TYPE" | "XADD" | "XDEL" | "XLEN" | "XRANGE" | "XREVRANGE"
        | "XTRIM" | "ZADD" | "ZCARD" | "ZCOUNT" | "ZINCRBY" | "ZMSCORE" | "ZPOPMAX" | "ZPOPMIN"
        | "ZRANDMEMBER" | "ZRANGE" | "ZRANGEBYLEX" | "ZRANGEBYSCORE" | "ZRANK" | "ZREM"
        | "ZREMRANGEBYRANK" | "ZREMRANGEBYSCORE" | "ZREVRANGE" | "ZREVRANGEBYSCORE" | "ZREVRANK"
        | "ZSCAN" | "ZSCORE" => Keys::First,
        "DEL" | "EXISTS" | "MGET" | "PFCOUNT" | "PFMERGE" | "SDIFF" | "SINTER" | "SUNION" | "TOUCH"
        | "UNLINK" => Keys::All,
        "MSET" | "MSETNX" => Keys::Pairs,
        "ECHO" | "PING" => Keys::None,
        _ => return None,
    })
}

/// Commands that no guest has, whatever is granted: they tell the server's passwords and what
/// others send (`CONFIG GET`, `ACL`, `MONITOR`, `SLOWLOG`), send its data elsewhere (`MIGRATE`,
/// `REPLICAOF`, `SYNC`), change or stop the server itself, or reach other databases than the one
/// that is granted (`FLUSHALL`, `MOVE`, `SELECT`, `SWAPDB`).
const OF_THE_SERVER: [&str; 31] = [
    "ACL",
    "AUTH",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLUSTER",
    "CONFIG",
    "DEBUG",
    "FAILOVER",
    "FLUSHALL",
    "HELLO",
    "LATENCY",
    "MIGRATE",
    "MODULE",
    "MONITOR",
    "MOVE",
    "PFDEBUG",
    "PFSELFTEST",
    "PSYNC",
    "QUIT",
    "REPLCONF",
    "REPLICAOF",
    "RESET",
    "RESTORE-ASKING",
    "SAVE",
    "SELECT",
    "SENTINEL",
    "SHUTDOWN",
    "SLAVEOF",
    "SLOWLOG",
    "SWAPDB",
    "SYNC",
];

/// Commands of which a guest has these parts only. Others change the server for everybody, or
/// stop what others do (`CLIENT KILL`, `CLIENT PAUSE`, `SCRIPT FLUSH`).
const IN_PART: [(&str, &[&str]); 4] = [
    ("CLIENT", &["GETNAME", "ID", "SETNAME"]),
    ("FUNCTION", &["DUMP", "HELP", "LIST", "STATS"]),
    ("MEMORY", &["USAGE"]),
    ("SCRIPT", &["EXISTS", "HELP", "LOAD"]),
];

/// Of the commands of a pipeline the first that no guest has.
pub(in crate::plugins) fn of_the_server(pipeline: &[Vec<Vec<u8>>]) -> Option<String> {
    pipeline.iter().find_map(|command| {
        let (name, words) = command.split_first()?;
        let is = |word: &[u8], known: &str| word.eq_ignore_ascii_case(known.as_bytes());
        if let Some(known) = OF_THE_SERVER.into_iter().find(|known| is(name, known)) {
            return Some(known.to_owned());
        }
        if is(name, "COPY") && words.iter().skip(2).any(|word| is(word, "DB")) {
            return Some("COPY DB".to_owned());
        }
        let (known, parts) = IN_PART.into_iter().find(|(known, _)| is(name, known))?;
        let part = words.first().map(Vec::as_slice).unwrap_or_default();
        let is_had = parts.iter().any(|had| is(part, had));
        (!is_had).then(|| format!("{known} {}", String::from_utf8_lossy(part).to_uppercase()))
    })
}

/// Of granted commands those that never go through.
pub(super) fn never(commands: &BTreeSet<String>) -> Vec<String> {
    let never = |command: &&String| *command != ANY && *command != "SCAN" && keys_of(command).is_none();
    commands.iter().filter(never).cloned().collect()
}

/// Whether a command may go through.
pub(super) fn allows(
    commands: &BTreeSet<String>,
    keys: &BTreeSet<String>,
    words: &[Vec<u8>],
) -> Result<(), Refused> {
    let Some((name, rest)) = words.split_first() else { return Ok(()) };
    let name = String::from_utf8_lossy(name).to_uppercase();
    if !commands.contains(&name) && !commands.contains(ANY) {
        return Err(Refused(format!("the command `{name}`")));
    }
    let Some(places) = keys_of(&name) else {
        return Err(Refused(format!("the command `{name}`, whose keys cannot be told")));
    };
    let named: Vec<&Vec<u8>> = match places {
        Keys::First => rest.first().into_iter().collect(),
        Keys::All => rest.iter().collect(),
        Keys::Pairs => rest.iter().step_by(2).collect(),
        Keys::None => Vec::new(),
    };
    match named.into_iter().find(|key| !keys.iter().any(|pattern| fits(pattern.as_bytes(), key))) {
        Some(key) => Err(Refused(format!("`{name}` on the key `{}`", String::from_utf8_lossy(key)))),
        None => Ok(()),
    }
}

/// Whether keys may be looked for by this pattern: only below a granted one, so that no
/// other key's name is told.
pub(super) fn allows_scan(
    commands: &BTreeSet<String>,
    keys: &BTreeSet<String>,
    pattern: &str,
) -> Result<(), Refused> {
    if !commands.contains("SCAN") && !commands.contains(ANY) {
        return Err(Refused("the command `SCAN`".to_owned()));
    }
    let literal = pattern.split(['*', '?', '[', '\\']).next().unwrap_or_default();
    let below = |granted: &String| match granted.split_once('*') {
        Some((prefix, "")) => literal.starts_with(prefix),
        // Other signs of a pattern are themselves in what is granted.
        _ => granted == pattern && literal.len() == pattern.len(),
    };
    if keys.iter().any(below) { Ok(()) } else { Err(Refused(format!("to look for the keys `{pattern}`"))) }
}

/// Whether a key fits a pattern, in which `*` is any text and all else itself.
fn fits(pattern: &[u8], key: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = key.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = find(rest, part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn words(command: &str) -> Vec<Vec<u8>> {
        command.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_command_is_refused_for_its_name_or_for_any_of_its_keys() {
        let (commands, keys) =
            (set(&["SET", "DEL", "MSET", "PFADD", "EVAL", "CONFIG"]), set(&["audit:*", "count"]));
        let allowed = |command: &str| allows(&commands, &keys, &words(command)).is_ok();
        for good in [
            "set audit:1 x",
            "DEL audit:1 count",
            "MSET audit:a x count y",
            "SET audit: x",
            "PFADD count count other",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "GET audit:1",
            "set other x",
            "DEL audit:1 other",
            "MSET audit:a x other y",
            "EVAL x 0",
            "CONFIG SET dir /",
            "SET counter x",
            "FLUSHALL",
            "set",
        ] {
            assert!(bad == "set" || !allowed(bad), "{bad}");
        }
        let any = set(&["*"]);
        assert!(allows(&any, &any, &words("GET x")).is_ok());
        assert!(allows(&any, &any, &words("SCRIPT FLUSH")).is_err(), "of what is known only");
    }

    #[test]
    fn the_server_itself_is_for_no_guest() {
        let found =
            |commands: &[&str]| of_the_server(&commands.iter().map(|one| words(one)).collect::<Vec<_>>());
        assert_eq!(found(&["SET a b", "config GET requirepass"]).as_deref(), Some("CONFIG"));
        assert_eq!(found(&["Acl LIST"]).as_deref(), Some("ACL"));
        assert_eq!(found(&["SET config x", "INFO", "EVAL x 0"]), None);
        for command in [
            "CLIENT KILL TYPE normal",
            "client pause 1000",
            "CLIENT",
            "SWAPDB 0 1",
            "LATENCY RESET",
            "SCRIPT FLUSH",
            "SCRIPT KILL",
            "FUNCTION LOAD x",
            "FUNCTION FLUSH",
            "FUNCTION DELETE x",
            "FUNCTION RESTORE x",
            "FUNCTION KILL",
            "MEMORY PURGE",
            "MEMORY DOCTOR",
            "RESET",
            "HELLO 3",
            "AUTH x",
            "QUIT",
            "SELECT 1",
            "SHUTDOWN",
            "DEBUG SLEEP 1",
            "REPLICAOF NO ONE",
            "SLAVEOF NO ONE",
            "MODULE LIST",
            "FAILOVER",
            "CLUSTER RESET",
            "BGSAVE",
            "BGREWRITEAOF",
            "SAVE",
            "FLUSHALL",
            "MOVE a 1",
            "COPY a b db 1",
        ] {
            assert!(found(&[command]).is_some(), "{command}");
        }
        for command in [
            "CLIENT SETNAME x",
            "client id",
            "CLIENT GETNAME",
            "SCRIPT LOAD x",
            "SCRIPT EXISTS x",
            "FUNCTION LIST",
            "MEMORY USAGE a",
            "FLUSHDB",
            "COPY a b REPLACE",
            "COPY a db",
        ] {
            assert_eq!(found(&[command]), None, "{command}");
        }
        assert_eq!(of_the_server(&[Vec::new()]), None);
    }

    #[test]
    fn keys_are_looked_for_below_what_is_granted() {
        let (commands, keys) = (set(&["SCAN"]), set(&["audit:*", "one"]));
        let allowed = |pattern: &str| allows_scan(&commands, &keys, pattern).is_ok();
        assert!(allowed("audit:*") && allowed("audit:x?*") && allowed("one"));
        for bad in ["*", "aud*", "?udit:*", "[a]udit:*", "on*", "\\audit:*"] {
            assert!(!allowed(bad), "{bad}");
        }
        assert!(allows_scan(&set(&["GET"]), &keys, "audit:*").is_err());
        for key in ["a?b", "x[12]", "*x"] {
            assert!(allows_scan(&commands, &set(&[key]), key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, key, wanted) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*b", "ab", true),
            ("a*b", "axxb", true),
            ("a*b", "axxc", false),
            ("a*b*c", "a-b-b-c", true),
            ("*:f", "m:f", true),
            ("a", "ab", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), key.as_bytes()), wanted, "{pattern} {key}");
        }
    }
}
