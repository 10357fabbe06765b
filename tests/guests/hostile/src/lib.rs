//! Does its host harm in the way that the text of a return names; what names none is stored,
//! which means here that nothing is done with it. With the option `setup: trap` it does not
//! even begin, with `read` it asks for too much.

use returner_sdk::{
    Event, Events, Failure, Job, JobCache, JobLoad, JobMinions, JobReturn, Loads, MinionReturn, Outcome,
    Refusal, Returner, config, log, sql,
};

struct Hostile;

returner_sdk::export!(Hostile);

impl Returner for Hostile {
    const OPTIONS: &'static [&'static str] = &["setup"];

    fn setup() -> Result<(), Failure> {
        assert!(config::get("setup").as_deref() != Some("trap"), "it does not want to begin");
        Ok(())
    }

    fn store(batch: Vec<JobReturn>) -> Outcome {
        let mut refusals = Vec::new();
        for (index, item) in batch.iter().enumerate() {
            harm(item.value.trim_matches('"'), index, batch.len(), &mut refusals)?;
        }
        Ok(refusals)
    }
}

fn harm(how: &str, index: usize, items: usize, refusals: &mut Vec<Refusal>) -> Result<(), Failure> {
    match how {
        "loop" => endless(),
        "allocate" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
        "recurse" => println!("{}", deeper(1)),
        "flood" => (0..20_000).for_each(|number| log::info(&format!("line {number} of a flood"))),
        // Lines that are long to write, and to read.
        "fields" => {
            let fields = vec![(String::new(), String::new()); 200_000];
            loop {
                log::write(log::Level::Info, "many fields", &fields);
            }
        }
        "parameters" => loop {
            // Refused, after all of them were handed over.
            drop(sql::query("nobody's", "", &vec![sql::Value::Null; 500_000]));
        },
        "long line" => log::info(&"\u{1b}x".repeat(25 << 20)),
        "print" => (0..200_000).for_each(|number| eprintln!("line {number} of what is printed")),
        "beyond" => refusals.push(Refusal::new(items + 7, Failure::reject("an index beyond"))),
        "twice" => refusals.extend([1, 2].map(|_| Refusal::new(index, Failure::reject("said twice")))),
        "later" => refusals.push(Refusal::new(index, tomorrow())),
        // Until somebody opens the gate.
        "gate" if sql::query("db", "SELECT a FROM kept", &[])?.rows.is_empty() => {
            refusals.push(Refusal::new(index, Failure::retry("the gate is shut")));
        }
        "all later" => return Err(tomorrow()),
        "refuse" => refusals.push(Refusal::new(index, Failure::reject("not this one"))),
        // As much as it may, of each of them.
        "refuse at length" => {
            eprintln!("{}", "printed ".repeat(1024));
            refusals.push(Refusal::new(index, Failure::reject(at_length(index))));
        }
        "put off at length" => refusals.push(Refusal::new(index, Failure::retry(at_length(index)))),
        "complain" => {
            eprintln!("it cannot stand this one");
            return Err(Failure::reject("not this one"));
        }
        "novel" => return Err(Failure::reject("x".repeat(5 << 20))),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        "hold" => drop(sql::query("db", "SELECT SLEEP(3600)", &[])?),
        "transaction" => {
            sql::execute("db", "INSERT INTO kept VALUES (1)", &[])?;
            endless();
        }
        "rows" => drop(sql::query("db", "SELECT * FROM many", &[])?),
        "answer" => drop(sql::query("db", "SELECT REPEAT('x', 3145728)", &[])?),
        "statement" => drop(sql::query("db", "SELECT ?", &["x".repeat(3 << 20).as_str().into()])?),
        "text" => return Err(Failure::reject(no_text())),
        "exit" => std::process::exit(0),
        "trap" => panic!("as it was asked to"),
        _ => {}
    }
    Ok(())
}

fn tomorrow() -> Failure {
    Failure::retry_after("it is late", std::time::Duration::from_secs(24 * 3600))
}

fn at_length(index: usize) -> String {
    format!("{index}: {}", "x".repeat(8000))
}

fn endless() {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

#[allow(unconditional_recursion, reason = "what it is for")]
fn deeper(depth: u64) -> u64 {
    let held = std::hint::black_box([depth; 64]);
    deeper(depth + 1) + held[1]
}

/// Bytes that are no UTF-8, where a text is due.
fn no_text() -> String {
    #[allow(unsafe_code, reason = "nothing else makes a text that is none")]
    unsafe {
        String::from_utf8_unchecked(vec![0xff, 0xfe, 0xc0, 0x80])
    }
}

impl Loads for Hostile {
    fn store(_: Vec<JobLoad>) -> Outcome {
        Ok(vec![])
    }

    fn add_minions(_: Vec<JobMinions>) -> Outcome {
        Ok(vec![])
    }
}

impl Events for Hostile {
    fn store(_: Vec<Event>) -> Outcome {
        Ok(vec![])
    }
}

impl JobCache for Hostile {
    fn get_load(_: String) -> Result<Option<String>, Failure> {
        Ok(Some("no JSON at all".to_owned()))
    }

    fn get_jid(_: String) -> Result<Vec<MinionReturn>, Failure> {
        endless();
        Ok(vec![])
    }

    fn get_fun(_: String) -> Result<Vec<MinionReturn>, Failure> {
        panic!("it does not want to answer")
    }

    fn get_jids(_: Option<u32>) -> Result<Vec<Job>, Failure> {
        Ok(vec![])
    }

    fn get_minions() -> Result<Vec<String>, Failure> {
        Err(Failure::reject("x".repeat(5 << 20)))
    }

    fn clean(_: u64) -> Result<u64, Failure> {
        Ok(u64::MAX)
    }
}
