//! Types, transactions, races and migrations behave alike on all servers. Each test starts its server, or says why it
//! is skipped.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests spawn and wait as they like"
)]

use weir_db::servers::{Kind, Server};
use weir_db::{Database, DatabaseUrl, DbError, Dialect, Executor as _, Migration, retrying, sql};

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "things",
        statements: &[
            "create table things (id {id} primary key, label {text}, size {integer} not null, ready {boolean} not null, \
             content {bytes})",
            "create table parts (number {serial}, thing {id} not null references things (id))",
            "create index parts_thing on parts (thing)",
        ],
    },
    Migration {
        version: 2,
        name: "colours",
        statements: &["alter table things add column colour {id}"],
    },
];

async fn opened(url: &DatabaseUrl) -> Database {
    let database = Database::open(url).await.unwrap();
    database.migrate("test", MIGRATIONS).await.unwrap();
    database
}

async fn everything(kind: Kind) {
    let Some(server) = Server::start(kind).await else {
        return;
    };
    migrations_run_once(&server.database().await).await;
    values_come_back(&server.database().await).await;
    text_compares_by_bytes(&server.database().await).await;
    errors_have_kinds(&server.database().await).await;
    transactions_are_whole(&server.database().await).await;
    counters_survive_races(&server.database().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    everything(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    everything(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    everything(Kind::MariaDb).await;
}

/// Of four processes that start together one migrates, a later start applies nothing, and an older program is refused.
async fn migrations_run_once(url: &DatabaseUrl) {
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let database = Database::open(&url).await.unwrap();
                database.migrate("test", MIGRATIONS).await.unwrap()
            })
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        applied += task.await.unwrap();
    }
    assert_eq!(applied, 2);
    let database = Database::open(url).await.unwrap();
    assert_eq!(database.migrate("test", MIGRATIONS).await.unwrap(), 0);
    assert_eq!(database.migrate("other", &[]).await.unwrap(), 0);
    let refused = database.migrate("test", &MIGRATIONS[..1]).await.unwrap_err();
    assert!(
        matches!(refused, DbError::Newer { found: 2, known: 1, .. }),
        "{refused:?}"
    );
}

/// Values of every type, and nulls, are read back unchanged. Unknown columns and wrong types are errors.
async fn values_come_back(url: &DatabaseUrl) {
    let database = opened(url).await;
    let columns = ["id", "label", "size", "ready", "content"];
    let label = "a 'quoted' ? and ümlaut 🦀\n\\ %_ \"";
    let full = || {
        vec![
            "one".into(),
            label.into(),
            i64::MIN.into(),
            true.into(),
            vec![0_u8, 255, 39].into(),
        ]
    };
    let mut executor = &database;
    assert!(executor.insert_new("things", &columns, full()).await.unwrap());
    assert!(
        !executor.insert_new("things", &columns, full()).await.unwrap(),
        "it is there already"
    );
    let empty = vec![
        "two".into(),
        None::<String>.into(),
        7.into(),
        false.into(),
        None::<Vec<u8>>.into(),
    ];
    let mut transaction = database.begin().await.unwrap();
    assert!(!transaction.insert_new("things", &columns, full()).await.unwrap());
    assert!(
        transaction.insert_new("things", &columns, empty).await.unwrap(),
        "it goes on"
    );
    transaction.commit().await.unwrap();
    let rows = database.all(sql("select * from things order by id")).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].get::<String>("label").unwrap(), label);
    assert_eq!(rows[0].get::<i64>("size").unwrap(), i64::MIN);
    assert!(rows[0].get::<bool>("ready").unwrap());
    assert_eq!(rows[0].get::<Vec<u8>>("content").unwrap(), [0, 255, 39]);
    assert_eq!(rows[1].get::<Option<String>>("label").unwrap(), None);
    assert_eq!(rows[1].get::<Option<Vec<u8>>>("content").unwrap(), None);
    assert_eq!(rows[1].get::<Option<String>>("colour").unwrap(), None);
    assert!(rows[0].get::<String>("nothing").is_err());
    assert!(rows[1].get::<String>("label").is_err());
    let counted = database
        .first(sql("select count(*) as n from things where size < ?").bind(8))
        .await;
    assert_eq!(counted.unwrap().unwrap().get::<i64>("n").unwrap(), 2);

    let replace = database.dialect().insert_or_replace("things", &["id"], &columns[1..]);
    let again = sql(replace).bind("two").bind("new").bind(8).bind(true).bind(&b"x"[..]);
    database.execute(again).await.unwrap();
    let row = database
        .first(sql("select * from things where id = ?").bind("two"))
        .await;
    assert_eq!(row.unwrap().unwrap().get::<String>("label").unwrap(), "new");
}

/// Keys that differ in case, accents or trailing blanks are different, and keys are sorted by their bytes.
async fn text_compares_by_bytes(url: &DatabaseUrl) {
    let database = opened(url).await;
    let names = ["B", "a", "a ", "b", "ä", "å"];
    for name in names {
        let insert = sql("insert into things (id, size, ready) values (?, ?, ?)")
            .bind(name)
            .bind(0)
            .bind(true);
        database.execute(insert).await.unwrap();
    }
    let rows = database.all(sql("select id from things order by id")).await.unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get("id").unwrap()).collect();
    assert_eq!(found, names);
    let one = database
        .all(sql("select id from things where id = ?").bind("a"))
        .await
        .unwrap();
    assert_eq!(one.len(), 1);
    let position = database.dialect().position_in("id");
    let within = sql(format!("select id from things where {position} = 1 order by id")).bind("a");
    assert_eq!(database.all(within).await.unwrap().len(), 2);
}

/// A duplicate, a violated foreign key and a wrong statement are different errors.
async fn errors_have_kinds(url: &DatabaseUrl) {
    let database = opened(url).await;
    let insert = || {
        sql("insert into things (id, size, ready) values (?, ?, ?)")
            .bind("x")
            .bind(0)
            .bind(true)
    };
    database.execute(insert()).await.unwrap();
    assert!(matches!(database.execute(insert()).await, Err(DbError::Duplicate(_))));
    // The length of a key is limited in characters on every server.
    for (length, fits) in [(255, true), (256, false)] {
        for column in ["id", "colour"] {
            let id = if column == "id" {
                "ü".repeat(length)
            } else {
                format!("{length}")
            };
            let colour = "ü".repeat(if column == "id" { 1 } else { length });
            let insert = sql("insert into things (id, size, ready, colour) values (?, 1, ?, ?)");
            let result = database.execute(insert.bind(id).bind(true).bind(colour)).await;
            assert_eq!(result.is_ok(), fits, "{column} {length} {result:?}");
            assert!(fits || matches!(result, Err(DbError::Value(_))), "{column} {result:?}");
        }
    }
    let orphan = sql("insert into parts (thing) values (?)").bind("nobody");
    if database.dialect() == Dialect::Sqlite || database.dialect() == Dialect::Postgres {
        assert!(matches!(database.execute(orphan).await, Err(DbError::Reference(_))));
    }
    assert!(matches!(
        database.execute(sql("selekt")).await,
        Err(DbError::Statement(_))
    ));
}

/// Changes are visible within their transaction, and to others only after a commit.
async fn transactions_are_whole(url: &DatabaseUrl) {
    let database = opened(url).await;
    let insert = |id: &str| {
        sql("insert into things (id, size, ready) values (?, ?, ?)")
            .bind(id)
            .bind(0)
            .bind(true)
    };
    let mut dropped = database.begin().await.unwrap();
    dropped.execute(insert("gone")).await.unwrap();
    assert!(dropped.first(sql("select id from things")).await.unwrap().is_some());
    assert!(database.first(sql("select id from things")).await.unwrap().is_none());
    drop(dropped);
    let mut kept = database.begin().await.unwrap();
    kept.execute(insert("kept")).await.unwrap();
    kept.execute(sql("insert into parts (thing) values (?)").bind("kept"))
        .await
        .unwrap();
    kept.commit().await.unwrap();
    let rows = database
        .all(sql("select t.id from things t join parts p on p.thing = t.id"))
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
}

/// Many concurrent transactions that read and then write one row lose no update.
async fn counters_survive_races(url: &DatabaseUrl) {
    let database = opened(url).await;
    let start = sql("insert into things (id, size, ready) values (?, ?, ?)")
        .bind("n")
        .bind(0)
        .bind(true);
    database.execute(start).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    retrying(|| increment(&database)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let row = database.first(sql("select size from things")).await.unwrap().unwrap();
    assert_eq!(row.get::<i64>("size").unwrap(), 80);
}

async fn increment(database: &Database) -> Result<(), DbError> {
    let mut transaction = database.begin().await?;
    let lock = database.dialect().for_update();
    let row = transaction
        .first(sql(format!("select size from things where id = ?{lock}")).bind("n"))
        .await?;
    let size: i64 = row.unwrap().get("size")?;
    transaction
        .execute(sql("update things set size = ? where id = ?").bind(size + 1).bind("n"))
        .await?;
    transaction.commit().await
}

/// A SQLite file is accessible to its owner only, and its contents survive a restart.
#[tokio::test]
async fn files_are_private_and_stay() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/uaa.db");
    let url = DatabaseUrl::sqlite(&path);
    let database = opened(&url).await;
    let insert = sql("insert into things (id, size, ready) values (?, ?, ?)")
        .bind("x")
        .bind(0)
        .bind(true);
    database.execute(insert).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    database.close().await;
    let database = opened(&url).await;
    assert!(database.first(sql("select id from things")).await.unwrap().is_some());
    // The reading connections cannot write.
    assert!(database.all(sql("delete from things")).await.is_err());
}
