use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use weir_config::Secret;

use super::remembered::MOST_REMEMBERED;
use super::*;
use crate::budget::Budget;
use crate::hello::Info;
use crate::metrics::Metrics;
use crate::outbound::OutboundLimits;
use crate::protocol::Limits;
use crate::table::Table;

/// A server without connections.
fn server() -> Shared {
    Shared {
        table: Table::default(),
        clients: Mutex::default(),
        next_id: AtomicU64::new(1),
        info: Info::new("127.0.0.1:4224".parse().expect("an address"), 1024),
        limits: Limits {
            control_line: 4096,
            payload: 1024,
        },
        max_subscriptions: 100,
        subscriptions: Budget::new(1 << 20),
        unfinished: Budget::new(1 << 20),
        outbound: OutboundLimits {
            connection: 1 << 20,
            share: 1 << 16,
            all: Arc::new(Budget::new(1 << 24)),
        },
        user: None,
        metrics: Metrics::register(&opentelemetry::global::meter("nats")),
    }
}

/// A client of a server, whose output is read by the test.
struct Peer {
    session: Session,
    client: Arc<Client>,
}

impl Peer {
    /// A client that connects with these options beside silence and leniency.
    fn connected(shared: &Arc<Shared>, options: &str) -> Self {
        let mut peer = Self::new(shared);
        let connect = format!("CONNECT {{\"verbose\":false,\"pedantic\":false{options}}}\r\n");
        assert_eq!(peer.says(&connect), "");
        peer
    }

    fn new(shared: &Arc<Shared>) -> Self {
        let client = shared.admit([127, 0, 0, 1].into());
        Self {
            session: Session::new(Arc::clone(shared), Arc::clone(&client)),
            client,
        }
    }

    /// Sends lines, and returns what the client is sent.
    fn says(&mut self, lines: &str) -> String {
        self.tries(lines).expect("the connection goes on");
        self.hears()
    }

    fn tries(&mut self, lines: &str) -> Result<(), Ending> {
        let read = self.session.read(lines.as_bytes());
        self.session.end_batch(usize::MAX);
        assert_eq!(read?.done, lines.len(), "all operations are complete");
        Ok(())
    }

    /// What the client is sent.
    fn hears(&self) -> String {
        String::from_utf8(self.client.outbound.take(Vec::new())).expect("text")
    }
}

/// A client that says nothing of itself is verbose and pedantic, and every operation but a ping is confirmed.
#[test]
fn verbose_and_pedantic() {
    let mut peer = Peer::new(&Arc::new(server()));
    assert_eq!(peer.says("CONNECT {}\r\n"), "+OK\r\n");
    assert_eq!(
        peer.says("PING\r\nSUB a.b 1\r\nPUB a.b 2\r\nhi\r\nUNSUB 1\r\n"),
        ["PONG\r\n", "+OK\r\n", "+OK\r\n", "MSG a.b 1 2\r\nhi\r\n", "+OK\r\n"].concat()
    );
    let pedantic = peer.says("PUB a.* 0\r\n\r\n");
    assert_eq!(pedantic, "-ERR 'Invalid Publish Subject'\r\n+OK\r\n");
    assert_eq!(peer.says("SUB a..b 1\r\n"), "-ERR 'Invalid Subject'\r\n");
}

/// Messages reach every subscription that matches, with reply and header, in the forms that their clients take.
#[test]
fn messages_reach_subscriptions() {
    let shared = Arc::new(server());
    let mut publisher = Peer::connected(&shared, ",\"headers\":true");
    let mut plain = Peer::connected(&shared, "");
    let mut with_headers = Peer::connected(&shared, ",\"headers\":true");
    plain.says("SUB a.* x\r\n");
    with_headers.says("SUB a.> 1\r\nSUB a.b 2\r\n");
    publisher.says("PUB a.b 2\r\nhi\r\n");
    assert_eq!(plain.hears(), "MSG a.b x 2\r\nhi\r\n");
    let mut heard: Vec<String> = with_headers
        .hears()
        .split_inclusive("hi\r\n")
        .map(str::to_owned)
        .collect();
    heard.sort();
    assert_eq!(heard, ["MSG a.b 1 2\r\nhi\r\n", "MSG a.b 2 2\r\nhi\r\n"]);
    let message = "HPUB a.c r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
    publisher.says(message);
    assert_eq!(plain.hears(), "MSG a.c x r 2\r\nhi\r\n");
    assert_eq!(with_headers.hears(), "HMSG a.c 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    publisher.says("PUB\ta.c \t 2\nhi\r\nHPUB a.d 0 2\r\nhi\r\n");
    assert_eq!(plain.hears(), "MSG a.c x 2\r\nhi\r\nMSG a.d x 2\r\nhi\r\n");
    assert_eq!(plain.tries(message), Err(Ending::UnexpectedHeader));
}

/// A client that does not want its own messages gets none, and others do.
#[test]
fn no_echo() {
    let shared = Arc::new(server());
    let mut silent = Peer::connected(&shared, ",\"echo\":false");
    let mut other = Peer::connected(&shared, "");
    silent.says("SUB a 1\r\n");
    other.says("SUB a 1\r\n");
    assert_eq!(silent.says("PUB a 0\r\n\r\n"), "");
    assert_eq!(other.hears(), "MSG a 1 0\r\n\r\n");
    assert_eq!(other.says("PUB a 0\r\n\r\n"), "MSG a 1 0\r\n\r\n");
    assert_eq!(silent.hears(), "MSG a 1 0\r\n\r\n");
}

/// Of a queue group one member takes a message, each about as often as the others, and all messages arrive.
#[test]
fn queue_groups_share() {
    let shared = Arc::new(server());
    let mut publisher = Peer::connected(&shared, "");
    let mut members: Vec<Peer> = (0..4).map(|_| Peer::connected(&shared, "")).collect();
    for (number, member) in members.iter_mut().enumerate() {
        let subject = if number % 2 == 0 { "a.b" } else { "a.*" };
        member.says(&format!("SUB {subject} q 1\r\n"));
    }
    publisher.says(&"PUB a.b 0\r\n\r\n".repeat(4000));
    let counts: Vec<usize> = members
        .iter()
        .map(|member| member.hears().matches("MSG").count())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 4000);
    // 1,000 each are expected, with a standard deviation of 27.
    assert!(counts.iter().all(|count| (700..1300).contains(count)), "{counts:?}");
}

/// A member that is gone or does not keep up takes nothing from its group.
#[test]
fn a_group_goes_on_without_a_member() {
    let shared = Arc::new(server());
    let mut publisher = Peer::connected(&shared, "");
    let mut members: Vec<Peer> = (0..3).map(|_| Peer::connected(&shared, "")).collect();
    for member in &mut members {
        member.says("SUB a q 1\r\n");
    }
    members[0].client.outbound.end(Ending::SlowConsumer);
    shared.remove(&members[1].client);
    publisher.says(&"PUB a 0\r\n\r\n".repeat(100));
    assert_eq!(members[2].hears().matches("MSG").count(), 100);
}

/// A subscription ends after as many messages as it was told, counted from its beginning, and leaves nothing behind.
#[test]
fn subscriptions_end_by_themselves() {
    let shared = Arc::new(server());
    let mut publisher = Peer::connected(&shared, "");
    let mut peer = Peer::connected(&shared, "");
    peer.says("SUB a 1\r\n");
    publisher.says("PUB a 1\r\n1\r\n");
    peer.tries("UNSUB 1 3\r\n").expect("unsubscribed");
    publisher.says("PUB a 1\r\n2\r\nPUB a 1\r\n3\r\nPUB a 1\r\n4\r\n");
    assert_eq!(peer.hears(), "MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\nMSG a 1 1\r\n3\r\n");
    assert_eq!(shared.subscriptions.used(), 0);
    peer.says("SUB a 1\r\n");
    publisher.says("PUB a 1\r\n5\r\nPUB a 1\r\n6\r\n");
    assert_eq!(peer.says("UNSUB 1 2\r\n"), "MSG a 1 1\r\n5\r\nMSG a 1 1\r\n6\r\n");
    publisher.says("PUB a 1\r\n7\r\n");
    assert_eq!(peer.hears(), "");
    assert_eq!(shared.subscriptions.used(), 0);
}

/// A request that no subscription takes is answered at once, where the client waits and wants to know.
#[test]
fn requests_without_responders() {
    let shared = Arc::new(server());
    let mut peer = Peer::connected(&shared, ",\"headers\":true,\"no_responders\":true");
    peer.says("SUB r.* 9\r\n");
    assert_eq!(
        peer.says("PUB a.b r.1 0\r\n\r\n"),
        "HMSG r.1 9 35 35\r\nNATS/1.0 503\r\nNats-Subject: a.b\r\n\r\n\r\n"
    );
    assert_eq!(peer.says("PUB a.b 0\r\n\r\n"), "", "no answer is wanted");
    assert_eq!(peer.says("PUB a.b elsewhere 0\r\n\r\n"), "", "nobody waits there");
    let mut responder = Peer::connected(&shared, "");
    responder.says("SUB a.b q 1\r\n");
    assert_eq!(peer.says("PUB a.b r.1 0\r\n\r\n"), "");
    assert_eq!(responder.says("PUB r.1 2\r\nok\r\n"), "MSG a.b 1 r.1 0\r\n\r\n");
    assert_eq!(peer.hears(), "MSG r.1 9 2\r\nok\r\n");
    let mut headless = Peer::new(&shared);
    assert_eq!(
        headless.tries("CONNECT {\"no_responders\":true}\r\n"),
        Err(Ending::NoHeaders)
    );
}

/// Look-ups that are kept count no longer once any subscription has changed.
#[test]
fn changes_are_seen_at_once() {
    let shared = Arc::new(server());
    let mut publisher = Peer::connected(&shared, "");
    let mut peer = Peer::connected(&shared, "");
    for round in 0..3 {
        publisher.says("PUB a 0\r\n\r\nPUB b 0\r\n\r\n");
        assert_eq!(peer.says("SUB a 1\r\n"), "", "round {round}");
        publisher.says("PUB a 0\r\n\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\n");
        assert_eq!(peer.says("SUB b 2\r\nUNSUB 1\r\n"), "MSG a 1 0\r\n\r\n".repeat(2));
        publisher.says("PUB a 0\r\n\r\nPUB b 0\r\n\r\n");
        assert_eq!(peer.says("UNSUB 2\r\n"), "MSG b 2 0\r\n\r\n");
    }
}

/// A user and a password are asked for before anything else, and wrong ones end the connection.
#[test]
fn users_and_passwords() {
    let shared = Arc::new(Shared {
        user: Some(("nats".to_owned(), Secret::new("secret".to_owned()))),
        ..server()
    });
    for refused in [
        "PING\r\n",
        "SUB a 1\r\n",
        "CONNECT {}\r\n",
        "CONNECT {\"user\":\"nats\"}\r\n",
        "CONNECT {\"user\":\"nats\",\"pass\":\"secre\"}\r\n",
        "CONNECT {\"user\":\"nat\",\"pass\":\"secret\"}\r\n",
        "CONNECT {\"pass\":\"secret\"}\r\n",
    ] {
        assert_eq!(
            Peer::new(&shared).tries(refused),
            Err(Ending::Unauthorized),
            "{refused}"
        );
    }
    let mut peer = Peer::new(&shared);
    assert_eq!(
        peer.says("CONNECT {\"user\":\"nats\",\"pass\":\"secret\"}\r\nPING\r\n"),
        "+OK\r\nPONG\r\n"
    );
    assert!(
        !format!("{peer:?}", peer = peer.session).contains("secret"),
        "no secret in a log"
    );
}

/// Subscriptions are bounded in number and in memory; a client that has too many is told and goes on.
#[test]
fn subscriptions_are_bounded() {
    let shared = Arc::new(server());
    let mut peer = Peer::connected(&shared, "");
    for number in 0..100 {
        assert_eq!(peer.says(&format!("SUB a {number}\r\n")), "");
    }
    assert_eq!(peer.says("SUB a 0\r\n"), "", "it is there already");
    let too_many = "-ERR 'maximum subscriptions exceeded'\r\n";
    assert_eq!(peer.says("SUB a 100\r\n"), too_many);
    assert_eq!(peer.says("UNSUB 7\r\nSUB a 100\r\n"), "");
    let mut other = Peer::connected(&shared, "");
    let long = format!("SUB {} 1\r\n", ["t"; 256].join("."));
    let mut told = String::new();
    for number in 0..20 {
        told += &other.says(&long.replace(" 1\r", &format!(" {number}\r")));
    }
    assert!(told.ends_with(too_many));
    assert!(shared.subscriptions.used() <= 1 << 20);
    assert_eq!(
        other.says(&format!("SUB {} 1\r\n", ["t"; 257].join("."))),
        "-ERR 'Invalid Subject'\r\n"
    );
    shared.remove(&peer.client);
    shared.remove(&other.client);
    assert_eq!(shared.subscriptions.used(), 0);
}

/// What a connection remembers of look-ups is bounded, however many subjects and subscriptions there are.
#[test]
fn what_is_remembered_is_bounded() {
    let shared = Arc::new(server());
    let mut peer = Peer::connected(&shared, "");
    for number in 0..100 {
        peer.says(&format!("SUB a.> {number}\r\n"));
    }
    for number in 0..1000 {
        peer.says(&format!("PUB a.{number} 0\r\n\r\nPUB b.{number} 0\r\n\r\n"));
    }
    let remembered = &peer.session.remembered;
    let sizes: usize = remembered.by_subject.values().map(|interest| interest.len()).sum();
    assert_eq!(sizes, remembered.size);
    assert!(0 < sizes && sizes <= MOST_REMEMBERED);
    assert!(remembered.by_subject.keys().all(|subject| subject.starts_with(b"a.")));
}

/// Another version of the protocol and JSON that is none end the connection.
#[test]
fn connects_are_checked() {
    let shared = Arc::new(server());
    assert_eq!(
        Peer::new(&shared).tries("CONNECT {\"protocol\":2}\r\n"),
        Err(Ending::Version)
    );
    let refused = Ending::Refused(Refused::Arguments);
    assert_eq!(Peer::new(&shared).tries("CONNECT {\r\n"), Err(refused));
    assert_eq!(Peer::new(&shared).tries("CONNECT\r\n"), Err(refused));
}
