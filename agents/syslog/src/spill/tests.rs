use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;

use super::*;

/// Returns an entry of lines whose timestamps are their numbers.
fn lines(source: &str, first: i64, count: u32, size: usize) -> Entry {
    let mut builder = BatchBuilder::new();
    for number in first..first + i64::from(count) {
        builder.push_with(|out| {
            Writer::new(out)
                .timestamp(number)
                .source_id(source)
                .log(&vec![b'x'; size], Stream::Out);
        });
    }
    Entry {
        content: Content::Envelopes(vec![builder.finish()]),
        envelopes: count,
        arrived: first,
    }
}

fn numbers(stored: &[Stored]) -> Vec<i64> {
    let mut numbers = Vec::new();
    for record in stored {
        match &record.content {
            StoredContent::Envelopes(batch) => {
                numbers.extend(batch.iter().map(|envelope| envelope.view().timestamp()));
            }
            StoredContent::Shipment { bytes, .. } => numbers.push(std::str::from_utf8(bytes).unwrap().parse().unwrap()),
        }
    }
    numbers
}

fn open(folder: &Path, limit: u64) -> Spill {
    Spill::open(folder, Limits::of(limit), &Budget::new(u64::MAX), Some("app")).unwrap()
}

fn settle_all(spill: &mut Spill, stored: &[Stored]) {
    for record in stored {
        spill.settle(record.end, record.envelopes);
    }
}

fn total(losses: &[Loss]) -> u64 {
    losses.iter().map(|loss| loss.count).sum()
}

/// What was appended is read in order. What was settled is not read again after a kill, not even within a record.
#[test]
fn goes_on_where_it_was_settled() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("binding");
    let mut spill = open(&folder, 1 << 30);
    let appended = spill.append(vec![
        lines("app", 0, 10, 100),
        lines("app", 10, 10, 100),
        lines("app", 20, 5, 10),
    ]);
    assert!(appended.failed.is_none() && appended.losses.is_empty());
    assert_eq!(spill.unread(), 25);
    let (stored, _) = spill.read(1).unwrap();
    assert_eq!(numbers(&stored), (0..10).collect::<Vec<_>>());
    let half = Place {
        skip: 4,
        ..stored[0].place
    };
    spill.settle(half, 4);
    assert_eq!((spill.unread(), spill.unsettled()), (15, 21));
    spill.tidy().unwrap();
    assert!(!spill.is_untidy());
    drop(spill);

    let mut spill = open(&folder, 1 << 30);
    assert_eq!((spill.unread(), spill.unsettled(), spill.oldest()), (21, 21, Some(0)));
    let (stored, _) = spill.read(usize::MAX).unwrap();
    assert_eq!(numbers(&stored), (4..25).collect::<Vec<_>>());
    assert_eq!(spill.unread(), 0);
    spill.rewind();
    let (stored, _) = spill.read(usize::MAX).unwrap();
    assert_eq!(numbers(&stored), (4..25).collect::<Vec<_>>());
    settle_all(&mut spill, &stored);
    assert_eq!(spill.unsettled(), 0);
    let (lost, removed) = spill.destroy();
    removed.unwrap();
    assert!(lost.is_empty() && !folder.exists());
}

/// Formatted messages are read back unchanged.
#[test]
fn keeps_shipments_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = open(dir.path(), 1 << 30);
    let shipment = Entry {
        content: Content::Shipment {
            bytes: Bytes::from_static(b"<14>1 t h one - -\n<14>1 t h two - -\n"),
            ends: vec![18, 36],
        },
        envelopes: 2,
        arrived: 7,
    };
    spill.append(vec![shipment]);
    drop(spill);
    let mut spill = open(dir.path(), 1 << 30);
    let (stored, _) = spill.read(usize::MAX).unwrap();
    match &stored[0].content {
        StoredContent::Shipment { bytes, ends } => {
            assert_eq!((bytes.len(), ends.as_slice()), (36, &[18, 36][..]));
            let mut sources = sources_of_messages(bytes, ends, 2);
            sources.sort_by(|one, other| one.source_id.cmp(&other.source_id));
            assert_eq!(sources[0].source_id, "one");
            assert_eq!(sources[1].source_id, "two");
        }
        StoredContent::Envelopes(_) => panic!("it is a shipment"),
    }
    assert_eq!((stored[0].envelopes, stored[0].arrived), (2, 7));
}

/// If the last record was written incompletely, the records before it are read, and appending goes on.
#[test]
fn a_torn_tail_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = open(dir.path(), 1 << 30);
    spill.append(vec![lines("app", 0, 3, 10), lines("app", 3, 3, 10)]);
    let whole = spill.segments[0].len();
    drop(spill);
    let file = segment::path(dir.path(), 1);
    let bytes = fs::read(&file).unwrap();
    let first = {
        let mut one = Vec::new();
        record::encode(&lines("app", 0, 3, 10), &mut one);
        8 + one.len()
    };
    // The index entry is written after the record.
    let index = fs::read(index::path(dir.path(), 1)).unwrap();
    fs::write(index::path(dir.path(), 1), &index[..index::SIZE]).unwrap();
    for cut in first + 1..usize::try_from(whole).unwrap() {
        for garbage in [false, true] {
            let mut torn = bytes[..cut].to_vec();
            if garbage {
                torn.resize(bytes.len(), 0xa5);
            }
            fs::write(&file, torn).unwrap();
            let mut spill = open(dir.path(), 1 << 30);
            let (stored, losses) = spill.read(usize::MAX).unwrap();
            assert_eq!(numbers(&stored), [0, 1, 2], "cut at {cut}");
            assert!(losses.is_empty());
            assert_eq!(fs::metadata(&file).unwrap().len(), first as u64);
            spill.append(vec![lines("app", 6, 1, 1)]);
            let (stored, _) = spill.read(usize::MAX).unwrap();
            assert_eq!(numbers(&stored), [6]);
            drop(spill);
            segment::remove(dir.path(), 2).unwrap();
        }
    }
    // The first write of a segment may be cut short as well.
    fs::remove_file(index::path(dir.path(), 1)).unwrap();
    fs::write(&file, b"WEIR").unwrap();
    assert_eq!(open(dir.path(), 1 << 30).unread(), 0);
}

/// Writes a spill of several segments, part of which is settled. Returns the number of envelopes that are left.
fn some_segments(folder: &Path) -> u64 {
    let mut record = Vec::new();
    record::encode(&lines("app", 40, 5, 4), &mut record);
    let limits = Limits {
        bytes: 1 << 30,
        // Two records.
        segment: (2 * record.len() + index::SIZE + 20) as u64,
    };
    let mut spill = Spill::open(folder, limits, &Budget::new(u64::MAX), Some("app")).unwrap();
    spill.append((0..9).map(|record| lines("app", record * 5, 5, 4)).collect());
    assert!(spill.segments.len() >= 4);
    let (stored, _) = spill.read(1).unwrap();
    let part = Place {
        skip: 2,
        ..stored[0].place
    };
    spill.settle(part, 2);
    spill.tidy().unwrap();
    spill.unsettled()
}

/// Opens a spill and reads everything. Returns the numbers of the lines and how many lines are counted as lost.
fn read_all(folder: &Path) -> (Vec<i64>, u64) {
    let mut spill = open(folder, 1 << 30);
    let mut lost = total(&spill.take_missing());
    let mut found = Vec::new();
    while spill.unread() > 0 {
        let (stored, losses) = spill.read(usize::MAX).unwrap();
        found.extend(numbers(&stored));
        lost += total(&losses.unreadable);
        settle_all(&mut spill, &stored);
    }
    assert_eq!(spill.unsettled(), 0);
    spill.tidy().unwrap();
    (found, lost)
}

/// One file of a closed spill is damaged: any bit flips, it is cut at any place, or it is missing. Each envelope is
/// read or counted as lost, and one bit costs no more than one record.
#[test]
fn damage_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("whole");
    let left = some_segments(&folder);
    let files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| !file.ends_with("cursor"))
        .collect();
    let copy = |damaged: &Path, content: Option<&[u8]>| {
        let to = dir.path().join("damaged");
        drop(fs::remove_dir_all(&to));
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(&folder).unwrap() {
            let from = file.unwrap().path();
            let into = to.join(from.file_name().unwrap());
            match content {
                _ if from != damaged => assert!(fs::copy(&from, into).is_ok()),
                Some(content) => fs::write(into, content).unwrap(),
                None => {}
            }
        }
        to
    };
    for file in &files {
        let intact = fs::read(file).unwrap();
        let check = |what: &str, content: Option<&[u8]>, most_lost: u64| {
            let (found, lost) = read_all(&copy(file, content));
            assert!(found.is_sorted(), "{what}");
            assert_eq!(found.len() as u64 + lost, left, "{what} of {}", file.display());
            assert!(lost <= most_lost, "{what} of {}: {lost} lost", file.display());
        };
        for at in 0..intact.len() {
            let mut flipped = intact.clone();
            flipped[at] ^= 1 << (at % 8);
            check(&format!("bit at {at}"), Some(&flipped), 5);
        }
        for cut in 0..intact.len() {
            check(&format!("cut at {cut}"), Some(&intact[..cut]), 15);
        }
        check("loss", None, 15);
    }
}

/// Segments whose files are both missing are counted with the segments before and after them.
#[test]
fn segments_that_are_gone_are_counted() {
    for gone in [vec![1], vec![2], vec![1, 2], vec![2, 3]] {
        let dir = tempfile::tempdir().unwrap();
        let left = some_segments(dir.path());
        for number in gone {
            segment::remove(dir.path(), number).unwrap();
        }
        let (found, lost) = read_all(dir.path());
        assert_eq!(found.len() as u64 + lost, left);
        assert!(lost >= 5);
        // They are counted only once.
        assert_eq!(read_all(dir.path()).1, 0);
    }
}

/// A backlog of an earlier version, without index and with a shorter cursor, is read.
#[test]
fn backlogs_of_former_versions_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let left = some_segments(dir.path());
    for number in segment::numbers(dir.path()).unwrap() {
        fs::remove_file(index::path(dir.path(), number)).unwrap();
    }
    let file = dir.path().join("cursor");
    let mut cursor = fs::read(&file).unwrap()[..20].to_vec();
    let crc = crc32fast::hash(&cursor);
    cursor.extend_from_slice(&crc.to_le_bytes());
    fs::write(&file, cursor).unwrap();
    let (found, lost) = read_all(dir.path());
    assert_eq!((found.len() as u64, lost), (left, 0));
}

/// If the budget is used up, the oldest envelopes are lost and counted by source.
#[test]
fn the_oldest_go_at_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        bytes: 100_000,
        segment: 10_000,
    };
    let budget = Budget::new(u64::MAX);
    let mut spill = Spill::open(dir.path(), limits, &budget, None).unwrap();
    let mut lost = 0;
    for round in 0..100 {
        let source = if round % 2 == 0 { "even" } else { "odd" };
        let appended = spill.append(vec![lines(source, round * 20, 20, 100)]);
        lost += total(&appended.losses.full);
        assert!(
            appended
                .losses
                .full
                .iter()
                .all(|loss| ["even", "odd"].contains(&loss.source_id.as_str()))
        );
        assert!(spill.bytes() <= 100_000 && budget.used() == spill.bytes());
    }
    assert!(lost > 1000, "{lost}");
    let (stored, _) = spill.read(usize::MAX).unwrap();
    let left = numbers(&stored);
    assert_eq!(left.len() as u64 + lost, 2000);
    assert_eq!(left, (i64::try_from(lost).unwrap()..2000).collect::<Vec<_>>());
    settle_all(&mut spill, &stored);
    spill.tidy().unwrap();
    assert!(spill.bytes() < 20_000);
}

/// If the agent's budget is used up, the spill that uses the most discards segments, whichever spill writes.
#[test]
fn the_largest_gives_up_for_the_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let budget = Budget::new(1 << 20);
    let open = |name: &str| Spill::open(&dir.path().join(name), Limits::of(1 << 30), &budget, Some(name)).unwrap();
    let (mut large, mut small) = (open("large"), open("small"));
    for round in 0..30 {
        let appended = large.append(vec![lines("large", round * 10, 10, 3000)]);
        assert!(appended.losses.is_empty());
    }
    let mut lost = 0;
    for round in 0..20 {
        let appended = small.append(vec![lines("small", round * 10, 10, 3000)]);
        assert!(appended.losses.is_empty(), "the small one pays nothing");
        lost += total(&large.give_up(large.owed().take()).full);
        assert!(budget.used() <= (1 << 20) + (1 << 16));
    }
    assert!(lost > 0);
    let mut own = 0;
    for round in 0..30 {
        own += total(
            &large
                .append(vec![lines("large", 300 + round * 10, 10, 3000)])
                .losses
                .full,
        );
    }
    assert!(own > 0, "the largest pays for itself");
    drop((large, small));
    assert_eq!(budget.used(), 0);
}

/// If the directory cannot be written to, entries are returned, and nothing is stored partly.
#[test]
fn an_unwritable_folder_gives_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("binding");
    fs::write(&place, "a file is in the way").unwrap();
    let budget = Budget::new(u64::MAX);
    assert!(Spill::open(&place, Limits::of(1 << 20), &budget, None).is_err());
    fs::remove_file(&place).unwrap();
    let mut spill = open(&place, 1 << 20);
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "again").unwrap();
    let appended = spill.append(vec![lines("app", 0, 5, 10), lines("app", 5, 5, 10)]);
    let (_, rest) = appended.failed.unwrap();
    assert_eq!((appended.ends.len(), rest.len(), spill.unread()), (0, 2, 0));
    fs::remove_file(&place).unwrap();
    let appended = spill.append(rest);
    assert!(appended.failed.is_none());
    assert_eq!(spill.unread(), 10);
}

/// The backlog of an unknown binding is counted and removed.
#[test]
fn unclaimed_backlogs_are_counted_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("gone");
    let mut spill = Spill::open(&folder, Limits::of(1 << 20), &Budget::new(u64::MAX), None).unwrap();
    spill.append(vec![lines("one", 0, 5, 10), lines("other", 5, 7, 10)]);
    drop(spill);
    let (mut lost, removed) = destroy_unknown(&folder);
    removed.unwrap();
    lost.sort_by_key(|loss| loss.count);
    assert_eq!(
        lost.iter()
            .map(|loss| (loss.source_id.as_str(), loss.count))
            .collect::<Vec<_>>(),
        [("one", 5), ("other", 7)]
    );
    assert!(!folder.exists());
}

#[derive(Debug, Clone)]
enum Step {
    Append { records: u8, envelopes: u8, size: u16 },
    Read { bytes: u16 },
    SettleRecord,
    SettlePart(u8),
    Rewind,
    Tidy,
    Reopen,
    GiveUp(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4u8, 1..20u8, 0..600u16).prop_map(|(records, envelopes, size)| Step::Append { records, envelopes, size }),
        4 => (0..5000u16).prop_map(|bytes| Step::Read { bytes }),
        4 => Just(Step::SettleRecord),
        2 => any::<u8>().prop_map(Step::SettlePart),
        1 => Just(Step::Rewind),
        1 => Just(Step::Tidy),
        1 => Just(Step::Reopen),
        1 => (0..3000u16).prop_map(Step::GiveUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// After any sequence of steps, each envelope is delivered, waiting or counted as lost. Envelopes are read in
    /// order, and are repeated only if the spill is reopened after a settlement that was not saved.
    #[test]
    fn every_envelope_is_accounted_for(steps in prop::collection::vec(step(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let budget = Budget::new(u64::MAX);
        let limits = Limits { bytes: 60_000, segment: 8_000 };
        let open = || Spill::open(dir.path(), limits, &budget, Some("app")).unwrap();
        let mut spill = open();
        let mut next = 0_i64;
        let (mut appended, mut settled, mut lost) = (0_u64, 0_u64, 0_u64);
        let mut held: VecDeque<Stored> = VecDeque::new();
        for step in steps {
            match step {
                Step::Append { records, envelopes, size } => {
                    let mut entries = Vec::new();
                    for _ in 0..records {
                        entries.push(lines("app", next, u32::from(envelopes), usize::from(size)));
                        next += i64::from(envelopes);
                        appended += u64::from(envelopes);
                    }
                    let done = spill.append(entries);
                    prop_assert!(done.failed.is_none());
                    lost += total(&done.losses.full);
                }
                Step::Read { bytes } => {
                    let (stored, losses) = spill.read(usize::from(bytes)).unwrap();
                    prop_assert!(losses.is_empty());
                    let last = held.back().map(|record| record.end);
                    for record in &stored {
                        prop_assert!(last.is_none_or(|last| last <= record.place));
                    }
                    held.extend(stored);
                }
                Step::SettleRecord => {
                    if let Some(record) = held.pop_front() {
                        spill.settle(record.end, record.envelopes);
                        settled += u64::from(record.envelopes);
                    }
                }
                Step::SettlePart(part) => {
                    if let Some(record) = held.front_mut() {
                        let count = u32::from(part) % record.envelopes;
                        let end = Place { skip: record.place.skip + count, ..record.place };
                        spill.settle(end, count);
                        settled += u64::from(count);
                        record.place = end;
                        record.envelopes -= count;
                    }
                }
                Step::Rewind => {
                    // The drain still has what it read from segments that were discarded since.
                    let first = spill.first_segment();
                    held.retain(|record| record.place.segment < first);
                    spill.rewind();
                }
                Step::Tidy => spill.tidy().unwrap(),
                Step::Reopen => {
                    spill.tidy().unwrap();
                    let first = spill.first_segment();
                    held.retain(|record| record.place.segment < first);
                    drop(spill);
                    spill = open();
                }
                Step::GiveUp(bytes) => lost += total(&spill.give_up(u64::from(bytes)).full),
            }
            let first = spill.first_segment();
            let orphans: u64 = held
                .iter()
                .filter(|record| record.place.segment < first)
                .map(|record| u64::from(record.envelopes))
                .sum();
            prop_assert_eq!(appended, settled + lost + spill.unsettled() + orphans);
            prop_assert_eq!(budget.used(), spill.bytes());
        }
        let _unused: &Arc<Budget> = &budget;
    }
}
