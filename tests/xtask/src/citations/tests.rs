use super::{Sections, broken, numbers, problems};

/// The contracts of these tests: one page with three sections.
fn sections() -> Sections {
    let page = "# Logging\n## 1. Topology\ntext\n## 14. Log Cache\n### 14.1 Syslog server\n### A\n";
    [("logging".to_owned(), numbers(page))].into()
}

/// The problems of one line of text.
fn of(line: &str) -> Vec<String> {
    problems(line, &sections())
        .into_iter()
        .map(|(_, problem)| problem)
        .collect()
}

/// Every citation in this workspace leads to a section.
#[test]
fn this_workspace_cites_what_there_is() {
    let found = broken(&crate::workspace_root()).unwrap();
    assert!(found.is_empty(), "{found:#?}");
}

/// A page's sections are found by their numbers; a heading without a number is none.
#[test]
fn headings_have_numbers() {
    let found: Vec<String> = numbers("## 1. A\n### 14.1 B\n### C\n#### 2 D").into_iter().collect();
    assert_eq!(found, ["1", "14.1"]);
}

/// A citation of a section that exists is accepted, also behind a comma; other documents' paragraphs are not looked at.
#[test]
fn good_citations_pass() {
    for line in ["(logging §14.1).", "logging §1, §14", "RFC 5424 §6.3", "no sign"] {
        assert_eq!(of(line), [""; 0], "{line}");
    }
}

/// A citation without a page, or of a section that does not exist, is told with its line.
#[test]
fn bad_citations_are_told() {
    // Put together here, so that this file itself stays without a bad citation.
    let sign = '§';
    assert_eq!(
        of(&format!("(contract {sign}7)")),
        [format!("`contract {sign}7` does not say which contract")]
    );
    assert_eq!(
        of(&format!("logging {sign}1, {sign}15")),
        [format!("`logging {sign}15`: there is no such section")]
    );
    assert_eq!(problems(&format!("\nlogging {sign}9"), &sections())[0].0, 2);
}
