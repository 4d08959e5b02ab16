//! The inbox on the stream: every entry once and in order (G7), whatever happens to sockets, hints and the server. What a client keeps
//! is held against the inbox itself (C8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Person, within};
use crate::support::faults::{self, Gate};
use crate::support::server::{Server, Settings};
use crate::support::socket::{EVENT_TIMEOUT, Events, Socket};
use crate::support::{Seeded, number_from_environment, seed};

/// A client that keeps what it was told, as the contract asks it to: only the entry that follows.
#[derive(Debug, Default)]
struct Keeper {
    epoch: String,
    last: u64,
    kept: Vec<Value>,
    resets: Vec<String>,
    /// Entries that did not follow, though none was to be repeated.
    strays: Vec<u64>,
}

impl Keeper {
    fn hear(&mut self, event: &Value) {
        match event["event"].as_str() {
            Some("hello") if self.epoch.is_empty() => {
                self.epoch = event["epoch"].as_str().expect("an epoch").to_owned();
                self.last = event["seq"].as_u64().expect("a number");
            }
            Some("reset") => {
                self.resets.push(event["reason"].as_str().expect("a reason").to_owned());
                self.epoch = event["epoch"].as_str().expect("an epoch").to_owned();
                self.last = event["seq"].as_u64().expect("a number");
            }
            Some("notification") => {
                let seq = event["seq"].as_u64().expect("a number");
                if seq == self.last + 1 {
                    self.last = seq;
                    self.kept.push(event["data"].clone());
                } else {
                    self.strays.push(seq);
                }
            }
            _ => {}
        }
    }

    /// Reads until this entry is there.
    async fn read_to(&mut self, socket: &mut Socket, seq: u64) {
        while self.last < seq {
            let event = socket.next().await;
            self.hear(&event);
        }
    }
}

/// The whole inbox, oldest first, with nothing missing between its numbers.
async fn inbox(person: &Person) -> Vec<Value> {
    let mut entries = person.all_items("/v1/notifications").await;
    entries.reverse();
    entries
}

/// Where his inbox stands.
async fn stands_at(person: &Person) -> u64 {
    person.get("/v1/notifications?limit=1").send().await.expect(200).json["seq"].as_u64().expect("a number")
}

/// Waits until his inbox has so many entries.
async fn has(person: &Person, seq: u64) {
    within(EVENT_TIMEOUT, "the inbox to fill", async || (stands_at(person).await >= seq).then_some(())).await;
}

/// C8: what was kept is what stands in the inbox.
async fn assert_same_as_inbox(keeper: &Keeper, person: &Person) {
    let stored = inbox(person).await;
    let told: Vec<(&Value, &Value)> = keeper.kept.iter().map(|entry| (&entry["seq"], &entry["id"])).collect();
    let stands: Vec<(&Value, &Value)> = stored.iter().map(|entry| (&entry["seq"], &entry["id"])).collect();
    assert_eq!(told, stands);
}

#[tokio::test]
async fn a_comment_reaches_the_author_on_every_device_as_it_stands_in_the_inbox() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "reach", 2).await;
    let post = people[0].publish("who answers?").await;
    let (mut phone, hello) = Socket::greeted(&people[0]).await;
    let mut laptop = Socket::open(&people[0]).await;
    assert_eq!(hello["seq"], 0);

    people[1].write_comment(&post, "I do").wait(30).send().await.expect(201);

    let event = phone.event("notification").await;
    assert_eq!(laptop.event("notification").await, event);
    assert_eq!((&event["seq"], &event["data"]["kind"]), (&json!(1), &json!("comment")), "{event}");
    assert_eq!(event["data"]["actors"][0]["id"], json!(people[1].id));
    assert_eq!(inbox(&people[0]).await, [event["data"].clone()], "the same entry as in the inbox");
}

#[tokio::test]
async fn a_device_that_was_offline_gets_the_gap_and_then_live_entries() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "gap", 2).await;
    let post = people[0].publish("talk").await;
    let (socket, hello) = Socket::greeted(&people[0]).await;
    let epoch = hello["epoch"].as_str().expect("an epoch").to_owned();
    socket.close().await;

    for number in 0..5 {
        people[1].write_comment(&post, &format!("while away {number}")).wait(30).send().await.expect(201);
    }
    has(&people[0], 5).await;
    let mut keeper = Keeper { epoch: epoch.clone(), ..Keeper::default() };
    let mut socket = Socket::unread(&people[0]).await;
    socket.resume(&epoch, 0).await;
    keeper.read_to(&mut socket, 5).await;
    people[1].write_comment(&post, "live").wait(30).send().await.expect(201);
    keeper.read_to(&mut socket, 6).await;

    assert_eq!(keeper.strays, Vec::<u64>::new());
    assert_same_as_inbox(&keeper, &people[0]).await;
}

#[tokio::test]
async fn a_long_history_comes_in_order_and_closes_nobody() {
    let entries = 400;
    let server = Server::start_with(Settings::default().with("stream.outbox_frames", "128")).await;
    let people = Person::join_many(&server, "long", 2).await;
    let post = people[0].publish("talk").await;
    for number in 0..entries {
        people[1].write_comment(&post, &format!("{number}")).send().await.expect(202);
    }
    has(&people[0], entries).await;
    let (mut socket, hello) = Socket::greeted(&people[0]).await;

    socket.resume(hello["epoch"].as_str().expect("an epoch"), 0).await;

    let mut keeper = Keeper { epoch: "known".to_owned(), ..Keeper::default() };
    keeper.read_to(&mut socket, entries).await;
    assert_eq!(keeper.strays, Vec::<u64>::new());
    assert_same_as_inbox(&keeper, &people[0]).await;
}

#[tokio::test]
async fn two_devices_agree_on_what_is_unread() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "unread", 2).await;
    let post = people[0].publish("talk").await;
    let (mut phone, mut laptop) = (Socket::open(&people[0]).await, Socket::open(&people[0]).await);
    for number in 0..3 {
        people[1].write_comment(&post, &format!("{number}")).wait(30).send().await.expect(201);
    }
    for socket in [&mut phone, &mut laptop] {
        socket.event_where("notification", |event| event["seq"] == 3).await;
    }

    phone.send(&json!({"op": "read", "up_to": 2})).await;

    for socket in [&mut phone, &mut laptop] {
        let read = socket.event("read").await;
        assert_eq!((&read["up_to"], &read["unread"]), (&json!(2), &json!(1)), "{read}");
    }
    people[0].post("/v1/notifications/read").json(&json!({"up_to": 3})).send().await.expect(200);
    for socket in [&mut phone, &mut laptop] {
        assert_eq!(socket.event("read").await["unread"], 0);
    }
    assert_eq!(Socket::greeted(&people[0]).await.1["unread"], 0);
}

/// T7.4: what cannot be resumed is told, never passed over.
#[tokio::test]
async fn a_place_that_is_not_in_the_inbox_gives_a_reset_with_its_reason() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "reset", 2).await;
    let post = people[0].publish("talk").await;
    people[1].write_comment(&post, "one").wait(30).send().await.expect(201);
    has(&people[0], 1).await;
    let (mut socket, hello) = Socket::greeted(&people[0]).await;
    let epoch = hello["epoch"].as_str().expect("an epoch");

    socket.resume(epoch, 99).await;
    let reset = socket.event("reset").await;
    assert_eq!((&reset["reason"], &reset["seq"]), (&json!("ahead"), &json!(1)), "{reset}");
    socket.resume("of-another-life", 0).await;
    let reset = socket.event("reset").await;
    assert_eq!((&reset["reason"], &reset["epoch"]), (&json!("epoch"), &json!(epoch)), "{reset}");

    people[1].write_comment(&post, "two").wait(30).send().await.expect(201);
    assert_eq!(socket.event("notification").await["seq"], 2, "after a reset it goes on live");
    let mut events = Events::open(&people[0], "", Some("of-another-life:1")).await;
    let reset = events.event("reset").await;
    assert_eq!((&reset.data["reason"], reset.id), (&json!("epoch"), Some(format!("{epoch}:2"))));
    assert_eq!(Events::try_open(&people[0], "", Some("no place")).await.status().as_u16(), 400);
}

#[tokio::test]
async fn server_sent_events_resume_from_the_last_id() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "events", 2).await;
    let post = people[0].publish("talk").await;
    let mut events = Events::open(&people[0], "", None).await;
    let hello = events.event("hello").await;
    assert_eq!(hello.id, None, "only places of the inbox have an id");
    people[1].write_comment(&post, "one").wait(30).send().await.expect(201);
    let first = events.event("notification").await;
    let epoch = hello.data["epoch"].as_str().expect("an epoch").to_owned();
    assert_eq!(first.id, Some(format!("{epoch}:1")));
    drop(events);

    for number in 2..=4 {
        people[1].write_comment(&post, &format!("{number}")).wait(30).send().await.expect(201);
    }
    has(&people[0], 4).await;
    let mut events = Events::open(&people[0], "", first.id.as_deref()).await;

    for seq in 2..=4 {
        let event = events.event("notification").await;
        assert_eq!((event.data["seq"].as_u64(), event.id), (Some(seq), Some(format!("{epoch}:{seq}"))));
    }
}

#[tokio::test]
async fn a_place_whose_next_entry_is_not_kept_any_more_gives_a_reset() {
    let settings = Settings::default().with("notify.retention_entries", "3").fault((faults::FORGET_OFTEN, "return"));
    let server = Server::start_with(settings).await;
    let people = Person::join_many(&server, "old", 2).await;
    let post = people[0].publish("talk").await;
    for number in 1..=6 {
        people[1].write_comment(&post, &format!("{number}")).wait(30).send().await.expect(201);
    }
    has(&people[0], 6).await;
    within(EVENT_TIMEOUT, "three to be left", async || (inbox(&people[0]).await.len() == 3).then_some(())).await;
    let (mut socket, hello) = Socket::greeted(&people[0]).await;
    let epoch = hello["epoch"].as_str().expect("an epoch");

    socket.resume(epoch, 2).await;
    let reset = socket.event("reset").await;
    assert_eq!((&reset["reason"], &reset["seq"]), (&json!("retention"), &json!(6)), "{reset}");

    socket.resume(epoch, 3).await;
    for seq in 4..=6 {
        assert_eq!(socket.event("notification").await["seq"], seq, "the oldest that is kept follows 3");
    }
}

#[tokio::test]
async fn a_cause_that_is_undone_is_withdrawn_on_open_sockets_and_keeps_its_place() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "undo", 2).await;
    let post = people[0].publish("talk").await;
    let (mut socket, hello) = Socket::greeted(&people[0]).await;
    let comment = people[1].write_comment(&post, "said too soon").wait(30).send().await.expect(201).text_at("/comment/id");
    socket.event("notification").await;

    people[1].delete(&format!("/v1/posts/{post}/comments/{comment}")).wait(30).send().await.expect(200);

    let withdrawn = socket.event("withdrawn").await;
    assert_eq!((&withdrawn["seq"], &withdrawn["unread"]), (&json!(1), &json!(0)), "{withdrawn}");
    socket.resume(hello["epoch"].as_str().expect("an epoch"), 0).await;
    let place = socket.event("notification").await;
    assert_eq!((&place["seq"], &place["data"]), (&json!(1), &Value::Null), "{place}");
}

/// What the socket of a server whose bus loses everything, and says so, has heard after a while, or when all is there.
async fn told_without_hints(settings: Settings, a_while: Duration) -> Keeper {
    let server = Server::start_with(settings.fault((faults::LOSE_ALL_HINTS, "return"))).await;
    let people = Person::join_many(&server, "deaf", 2).await;
    let post = people[0].publish("talk").await;
    let mut keeper = Keeper::default();
    let (mut socket, hello) = Socket::greeted(&people[0]).await;
    keeper.hear(&hello);
    socket.watch(&post).await;
    for number in 1..=5 {
        people[1].write_comment(&post, &format!("{number}")).wait(30).send().await.expect(201);
    }
    has(&people[0], 5).await;
    // What is still to come, comes with the next hint that is lost.
    people[1].like(&post).wait(30).send().await.expect(200);
    socket.event_where("counts", |counts| counts["comments"] == 5).await;
    let began = tokio::time::Instant::now();
    while keeper.last < 5 && began.elapsed() < a_while {
        for event in socket.events_within(Duration::from_millis(50)).await {
            keeper.hear(&event);
        }
    }
    keeper
}

#[tokio::test]
async fn when_hints_are_lost_all_sockets_look_for_themselves() {
    let keeper = Box::pin(told_without_hints(Settings::default(), EVENT_TIMEOUT)).await;

    assert!(keeper.last >= 5 && keeper.strays.is_empty(), "{keeper:?}");
}

#[tokio::test]
async fn control_sockets_that_do_not_look_are_noticed() {
    let settings = Settings::default().fault((faults::SKIP_HOLES, "return"));

    let keeper = Box::pin(told_without_hints(settings, Duration::from_secs(2))).await;

    assert!(keeper.last < 5, "{keeper:?}");
}

/// What a client keeps of a lively inbox when hints get lost, and the inbox's owner.
async fn kept_with_lost_hints(settings: Settings) -> (Server, Person, Keeper) {
    let server = Server::start_with(settings.fault((faults::LOSE_HINTS, "return"))).await;
    let people = Person::join_many(&server, "lost", 2).await;
    let post = people[0].publish("talk").await;
    let mut keeper = Keeper::default();
    let (mut socket, hello) = Socket::greeted(&people[0]).await;
    keeper.hear(&hello);
    for number in 1..=8 {
        people[1].write_comment(&post, &format!("{number}")).wait(30).send().await.expect(201);
        has(&people[0], number).await;
    }
    // The hint of the last one, which is even, arrives: once it is there nothing before it is on its way.
    let until = tokio::time::Instant::now() + EVENT_TIMEOUT;
    loop {
        let event = socket.next().await;
        keeper.hear(&event);
        if event["event"] == "notification" && event["seq"] == 8 {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "the last entry never came");
    }
    (server, people[0].clone(), keeper)
}

#[tokio::test]
async fn lost_hints_are_holes_and_are_filled() {
    let (_server, person, keeper) = kept_with_lost_hints(Settings::default()).await;

    assert_eq!((keeper.last, &keeper.strays), (8, &Vec::new()));
    assert_same_as_inbox(&keeper, &person).await;
}

#[tokio::test]
async fn control_live_frames_that_are_sent_without_looking_for_a_hole_are_noticed() {
    let (_server, _person, keeper) = kept_with_lost_hints(Settings::default().fault((faults::SKIP_HOLES, "return"))).await;

    assert!(keeper.last < 8 && !keeper.strays.is_empty(), "{keeper:?}");
}

/// T7.2: an entry comes exactly between the look into the inbox and the first live one.
async fn kept_over_the_greeting(settings: Settings) -> Keeper {
    let gate = Gate::open();
    let server = Server::start_with(settings.fault((faults::BETWEEN_LOOK_AND_ATTACH, &gate.action()))).await;
    let people = Person::join_many(&server, "between", 2).await;
    let post = people[0].publish("talk").await;
    let mut keeper = Keeper::default();
    let mut beside = Socket::open(&people[0]).await;
    gate.close();
    let mut socket = Socket::unread(&people[0]).await;
    gate.is_reached().await;
    people[1].write_comment(&post, "exactly between").wait(30).send().await.expect(201);
    // All sockets of one person are told together.
    beside.event("notification").await;
    gate.let_through();
    let hello = socket.event("hello").await;
    assert_eq!(hello["seq"], 0, "the look was before the entry");
    keeper.hear(&hello);
    people[1].write_comment(&post, "after").wait(30).send().await.expect(201);
    loop {
        let event = socket.next().await;
        keeper.hear(&event);
        if event["event"] == "notification" && event["seq"] == 2 {
            return keeper;
        }
    }
}

#[tokio::test]
async fn an_entry_between_the_look_and_the_first_live_one_is_not_lost() {
    let keeper = kept_over_the_greeting(Settings::default()).await;

    assert_eq!((keeper.last, keeper.strays), (2, Vec::new()));
}

#[tokio::test]
async fn control_a_hole_at_the_greeting_is_noticed() {
    let keeper = kept_over_the_greeting(Settings::default().fault((faults::SKIP_HOLES, "return"))).await;

    assert_eq!((keeper.last, keeper.strays), (0, vec![2]));
}

/// T7.1, in small: clients that leave without a word and come back, while the server is killed now and then.
#[tokio::test]
async fn clients_that_come_and_go_keep_every_entry_once_and_in_order() {
    let rounds = number_from_environment("SOSIK_TEST_RESUMES", 6);
    let mut random = Seeded::new(seed("clients_that_come_and_go"));
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "come", 5).await;
    let (writer, readers) = people.split_last().expect("five people");
    let mut posts = Vec::new();
    for reader in readers {
        posts.push(reader.publish("talk").await);
    }
    let mut keepers = Vec::new();
    for reader in readers {
        let mut keeper = Keeper::default();
        keeper.hear(&Socket::greeted(reader).await.1);
        keepers.push(keeper);
    }
    let mut written = 0;
    for round in 0..rounds {
        let mut sockets = Vec::new();
        for (reader, keeper) in readers.iter().zip(&mut keepers) {
            // Nothing is on its way: what comes before a client's `resume` is read might come again.
            has(reader, written).await;
            if random.below(2) == 0 {
                let (mut socket, hello) = Socket::greeted(reader).await;
                keeper.hear(&hello);
                socket.resume(&keeper.epoch.clone(), keeper.last).await;
                socket.settled().await.iter().for_each(|event| keeper.hear(event));
                sockets.push(Reading::Socket(Box::new(socket)));
            } else {
                let last = format!("{}:{}", keeper.epoch, keeper.last);
                sockets.push(Reading::Events(Box::new(Events::open(reader, "", Some(&last)).await)));
            }
        }
        for _ in 0..3 {
            for post in &posts {
                writer.write_comment(post, &format!("{written}")).send().await.expect(202);
            }
            written += 1;
            for ((reading, keeper), reader) in sockets.iter_mut().zip(&mut keepers).zip(readers) {
                if random.below(3) > 0 {
                    has(reader, 1).await;
                    reading.some(keeper).await;
                }
            }
        }
        for reading in sockets {
            reading.leave(random.below(2) == 0);
        }
        if round % 2 == 1 {
            server.kill();
            server.restart().await;
        }
    }
    for (reader, keeper) in readers.iter().zip(&mut keepers) {
        has(reader, written).await;
        let mut socket = Socket::open(reader).await;
        socket.resume(&keeper.epoch, keeper.last).await;
        keeper.read_to(&mut socket, written).await;
        assert_eq!((keeper.resets.as_slice(), keeper.kept.len() as u64), (&[][..], written));
        assert_eq!(keeper.strays, Vec::<u64>::new(), "each comes once, and only the one that follows");
        assert_same_as_inbox(keeper, reader).await;
    }
}

enum Reading {
    Socket(Box<Socket>),
    Events(Box<Events>),
}

impl Reading {
    /// Reads one event, whatever it is, if one comes soon.
    async fn some(&mut self, keeper: &mut Keeper) {
        let soon = Duration::from_millis(200);
        match self {
            Self::Socket(socket) => {
                for event in socket.events_within(soon).await {
                    keeper.hear(&event);
                }
            }
            Self::Events(events) => {
                while let Ok(Some(event)) = tokio::time::timeout(soon, events.next()).await {
                    keeper.hear(&event.data);
                }
            }
        }
    }

    fn leave(self, without_a_word: bool) {
        match self {
            Self::Socket(socket) if without_a_word => socket.cut(),
            Self::Socket(_) | Self::Events(_) => {}
        }
    }
}
