//! Every target over all seeds, their beginnings, and changed ones of its own, without a fuzzer.

use std::collections::BTreeSet;
use std::path::Path;

use weir_fuzz::{TARGETS, mutations, seeds};

/// Beginnings of a seed that each target is given: all of a short one.
const BEGINNINGS: usize = 500;

/// Changed seeds that each target is given.
const MUTATIONS: usize = 3_000;

/// Changed seeds for a target that signs each of them.
const SIGNED_MUTATIONS: usize = 300;

fn run(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let signs = name == "token";
    for bytes in seeds::all()
        .into_iter()
        .flat_map(|(_, seeds)| seeds)
        .map(|(_, bytes)| bytes)
    {
        target(&bytes);
        if !signs {
            let beginnings = (0..bytes.len()).step_by(1 + bytes.len() / BEGINNINGS);
            beginnings.for_each(|end| target(&bytes[..end]));
        }
    }
    let seeds = seeds::of(name);
    let most = if signs { SIGNED_MUTATIONS } else { MUTATIONS };
    for bytes in mutations::of(&seeds).take(most) {
        target(&bytes);
    }
}

/// A test for each target, called as it is.
macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )+

        /// The targets that have a test, seeds and a program for libFuzzer are the ones there are.
        #[test]
        fn no_target_is_left_out() {
            let all: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(BTreeSet::from([$(stringify!($name)),+]), all, "tests");
            assert_eq!(seeds::all().into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>(), all, "seeds");
            let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/targets");
            let programs: BTreeSet<String> = std::fs::read_dir(programs)
                .expect("a directory")
                .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
                .collect();
            assert_eq!(programs.iter().map(String::as_str).collect::<BTreeSet<_>>(), all, "programs");
        }
    };
}

targets! {
    batch,
    view,
    to_v1,
    from_v1,
    json,
    tags,
    syslog_read,
    syslog_frames,
    syslog_write,
    token,
    form,
    filter,
    redirect,
    stream,
    nats_operations,
    registration,
}
