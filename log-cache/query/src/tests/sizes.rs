//! The largest accepted queries of each kind can be planned, in little memory.

use std::time::{Duration, Instant};

use weir_error::{Classify, ErrorKind};

use super::hostile::{peak, start_peak};
use super::{engine, filled, query, rows};
use crate::{Query, guard};

/// The memory that planning and running one of them may take beyond the pool's 64 MiB in an unoptimised build, in
/// bytes.
const MEMORY: usize = 400 << 20;

/// Returns a query of a kind with `count` parts; `None` if there are no more kinds.
fn growing(kind: usize, count: usize) -> Option<String> {
    let list = |item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let joined =
        |separator: &str, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(separator);
    let nested = |step: &dyn Fn(usize) -> String| {
        let steps = list(&|level| format!("t{} as ({})", level + 1, step(level)));
        format!("with t0 as (select body as x, seq as n from logs), {steps} select * from t{count}")
    };
    let sql = match kind {
        0 => format!("select {}", list(&|number| number.to_string())),
        1 => format!(
            "select {} from logs",
            list(&|number| format!("seq + {number} as c{number}"))
        ),
        2 => format!("select * from (values ({}))", list(&|number| number.to_string())),
        3 => format!("values {}", list(&|number| format!("({number})"))),
        4 => format!(
            "select count(*) from logs where seq in ({})",
            list(&|number| number.to_string())
        ),
        5 => format!("select seq in ({}) as x from logs", list(&|number| number.to_string())),
        6 => format!("select 1 from {}", list(&|number| format!("logs l{number}"))),
        7 => format!("select * from {}", joined(" natural join ", &|_| "logs".to_owned())),
        8 => format!(
            "select 1 from logs l {}",
            joined(" ", &|number| format!("join logs l{number} on l.seq = l{number}.seq"))
        ),
        9 => format!(
            "select 1 from logs l0 {}",
            joined(" ", &|number| format!(
                "join logs l{} on l{number}.seq = l{}.seq",
                number + 1,
                number + 1
            ))
        ),
        10 => format!(
            "select 1 from logs l0 {}",
            joined(" ", &|number| format!(
                "left join logs l{} on l{number}.seq < l{}.seq",
                number + 1,
                number + 1
            ))
        ),
        11 => format!(
            "select * from ({}) where seq > 3 and body ~ 'x'",
            joined(" union all ", &|_| "select * from logs".to_owned())
        ),
        12 => joined(" union ", &|_| "select body from logs".to_owned()),
        13 => joined(" intersect ", &|_| "select body from logs".to_owned()),
        14 => format!(
            "select case {} end from logs",
            joined(" ", &|number| format!("when seq = {number} then {number}"))
        ),
        15 => format!(
            "select 1 from logs where {}",
            joined(" or ", &|number| format!("seq = {number}"))
        ),
        16 => format!(
            "select 1 from logs where {}",
            joined(" or ", &|number| format!("(seq = {number} and stream = 'x')"))
        ),
        17 => format!(
            "select 1 from logs where {}",
            joined(" and ", &|number| format!("(seq = {number} or stream = 'x')"))
        ),
        18 => format!(
            "select 1 from logs where {}",
            joined(" or ", &|number| format!("body like '%{number}%'"))
        ),
        19 => format!(
            "select 1 from logs where {}",
            joined(" or ", &|number| format!("body ~ '{number}.*x'"))
        ),
        20 => format!(
            "select {} from logs",
            list(&|number| format!("sum(seq + {number}) over (order by n{number})")
                .replace(&format!("n{number}"), "seq"))
        ),
        21 => format!(
            "select {} from logs",
            list(&|number| format!("sum(seq) over (order by seq + {number})"))
        ),
        22 => format!(
            "select {} from logs group by seq",
            list(&|number| format!("sum(seq + {number}) as s{number}"))
        ),
        23 => format!(
            "select count(*) from logs group by {}",
            list(&|number| format!("seq + {number}"))
        ),
        24 => format!(
            "select count(*) from logs group by cube ({})",
            list(&|number| format!("seq + {number}"))
        ),
        25 => format!(
            "select count(*) from logs group by rollup ({})",
            list(&|number| format!("seq + {number}"))
        ),
        26 => format!(
            "select count(*) from logs group by grouping sets ({})",
            list(&|number| format!("(seq, {number})"))
        ),
        27 => format!(
            "select * from logs order by {}",
            list(&|number| format!("seq + {number}"))
        ),
        28 => format!(
            "select * from logs where {}",
            joined(" and ", &|number| format!("seq in (select seq + {number} from logs)"))
        ),
        29 => format!(
            "select {}",
            list(&|number| format!("(select max(seq) + {number} from logs)"))
        ),
        30 => format!(
            "select * from logs l where {}",
            joined(" and ", &|number| format!(
                "exists (select 1 from logs r where r.seq = l.seq + {number})"
            ))
        ),
        31 => nested(&|level| format!("select a.x, a.n from t{level} a, t{level} b")),
        32 => nested(&|level| format!("select x, n from t{level} union all select x, n from t{level}")),
        33 => nested(&|level| format!("select x || x as x, n + n as n from t{level} where x <> '' and n > 0")),
        34 => nested(&|level| format!("select x, n + 1 as n from t{level} where n > {level}")),
        35 => nested(&|level| format!("select x, sum(n) as n from t{level} group by x having sum(n) > {level}")),
        36 => nested(&|level| format!("select x, sum(n) over (partition by x order by n) as n from t{level}")),
        37 => format!("select {}body{} from logs", "upper(".repeat(count), ")".repeat(count)),
        38 => format!("select {}1{}", "(select ".repeat(count), ")".repeat(count)),
        39 => format!(
            "explain verbose select 1 from {}",
            list(&|number| format!("logs l{number}"))
        ),
        40 => format!(
            "explain select {} from logs",
            list(&|number| format!("seq + {number} as c{number}"))
        ),
        _ => return None,
    };
    Some(sql)
}

/// Each kind of query, as large as is accepted, is planned or refused with an error of the caller. It occupies no
/// thread afterwards, and takes little memory.
#[tokio::test]
async fn the_largest_plans_fit() {
    let engine = engine(&filled());
    let allowed = |sql: &str| {
        let sql = sql.to_owned();
        let parse = move || guard::parse(&sql).is_ok();
        let thread = std::thread::Builder::new()
            .stack_size(crate::engine::STACK)
            .spawn(parse);
        thread.expect("a thread").join().expect("no overflow")
    };
    for kind in 0.. {
        let (mut most, mut too_many) = (1, 40_000);
        let large = |count| growing(kind, count);
        if large(1).is_none() {
            break;
        }
        while too_many - most > 1 {
            let count = usize::midpoint(most, too_many);
            if large(count).is_some_and(|sql| allowed(&sql)) {
                most = count;
            } else {
                too_many = count;
            }
        }
        let Some(sql) = large(most) else { break };
        let head: String = sql.chars().take(100).collect();
        let before = start_peak();
        let started = Instant::now();
        let asked = Query {
            timeout: Some(Duration::from_secs(1)),
            max_rows: Some(10),
            ..query(&sql)
        };
        let answer = engine.query(asked).await;
        let grown = peak().saturating_sub(before);
        println!("{most:>6} {:>8.1?} {:>4} MiB {head}", started.elapsed(), grown >> 20);
        if let Err(error) = &answer {
            assert!(error.kind() != ErrorKind::Internal, "{most} of {head}: {error}");
        }
        assert!(grown < MEMORY, "{most} of {head}: {} MiB", grown >> 20);
    }
    assert_eq!(rows(&engine, "select count(*) from logs").await, ["300"]);
}
