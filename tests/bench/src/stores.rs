//! How fast returns get into each store: Salt's own returner (a), the limit of the
//! server, driven natively (b), and the whole way through the host (c).
//!
//! Every figure is of one run on one machine, so only the ratios say anything. The
//! limit writes the same rows with the same driver in the same batches as the plugin,
//! with nothing in front of it.

use clap::Args;
use comfy_table::{Table, presets};

use crate::store::Store;
use crate::{limit, salt, whole};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which stores
    #[arg(long, value_delimiter = ',', default_value = "mysql,redis,mongo,sqlite3")]
    stores: Vec<String>,
    /// How many returns, one measurement each
    #[arg(long, value_delimiter = ',', default_value = "1000,20000,200000")]
    counts: Vec<usize>,
    /// The bytes of what a return returned, one measurement each with the middle count
    #[arg(long, value_delimiter = ',', default_value = "100,10000,100000")]
    sizes: Vec<usize>,
    /// The size that the counts are measured with
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// HTTP clients that send at once, 100 returns a request
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Leave out Salt's own returners
    #[arg(long)]
    no_salt: bool,
}

/// What the large sizes are bound to, in bytes altogether.
const MOST_BYTES: usize = 400 << 20;

pub(crate) async fn run(options: &Options) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "STORE",
        "RETURNS",
        "BYTES",
        "SALT NEW/S",
        "SALT KEPT/S",
        "LIMIT/S",
        "HOST/S",
        "HOST US CPU",
        "C/B",
        "C/A KEPT",
        "C/A NEW",
        "HOST MIB",
    ]);
    for name in &options.stores {
        let store = Store::start(name).await;
        let salt =
            if options.no_salt { salt::Figures::default() } else { salt::measure(&store, options.size) };
        let middle = options.counts.get(options.counts.len() / 2).copied().unwrap_or(20_000);
        let by_count = options.counts.iter().map(|count| (*count, options.size));
        let by_size = options.sizes.iter().map(|size| (middle.min(MOST_BYTES / size).max(100), *size));
        for (count, size) in by_count.chain(by_size) {
            let limit = limit::measure(&store, count, size).await;
            let whole = whole::measure(&store, count, size, options.clients).await;
            let salt = if size == options.size { salt } else { salt::Figures::default() };
            table.add_row(row(name, count, size, salt, limit, &whole));
            eprintln!("{name} {count} x {size}: limit {limit:.0}/s, host {:.0}/s", whole.rate);
        }
    }
    println!("{}", table.trim_fmt());
}

fn row(
    name: &str,
    count: usize,
    size: usize,
    salt: salt::Figures,
    limit: f64,
    whole: &whole::Figures,
) -> Vec<String> {
    let rate = |rate: Option<f64>| rate.map_or_else(String::new, |rate| format!("{rate:.0}"));
    let ratio = |of: Option<f64>| of.map_or_else(String::new, |of| format!("{:.1}", whole.rate / of));
    vec![
        name.to_owned(),
        count.to_string(),
        size.to_string(),
        rate(salt.new),
        rate(salt.kept),
        format!("{limit:.0}"),
        format!("{:.0}", whole.rate),
        format!("{:.1}", whole.cpu_micros),
        format!("{:.2}", whole.rate / limit),
        ratio(salt.kept),
        ratio(salt.new),
        format!("{:.0}", whole.memory_mib),
    ]
}
