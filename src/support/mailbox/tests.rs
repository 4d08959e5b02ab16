use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{ActorContext, ResponseFuture};
use tokio::sync::Notify;

use super::*;

/// An actor whose work goes on in a task until the test opens the gate.
struct Clerk {
    gate: Arc<Semaphore>,
    done: Arc<AtomicUsize>,
}

impl Actor for Clerk {
    type Context = Context<Self>;
}

struct Work;

impl Order for Work {
    type Reply = usize;
}

impl Handler<Envelope<Work>> for Clerk {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Work>, _: &mut Context<Self>) {
        let (gate, done) = (Arc::clone(&self.gate), Arc::clone(&self.done));
        actix::spawn(async move {
            gate.acquire().await.expect("an open gate").forget();
            envelope.ticket.answer(done.fetch_add(1, Ordering::SeqCst) + 1);
        });
    }
}

/// Work that answers with nothing.
struct News;

impl Order for News {
    type Reply = ();
}

impl Handler<Envelope<News>> for Clerk {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<News>, _: &mut Context<Self>) {
        let gate = Arc::clone(&self.gate);
        actix::spawn(async move {
            gate.acquire().await.expect("an open gate").forget();
            envelope.ticket.answer(());
        });
    }
}

struct Retire;

impl Order for Retire {
    type Reply = ();
}

impl Handler<Envelope<Retire>> for Clerk {
    type Result = ();

    fn handle(&mut self, _: Envelope<Retire>, context: &mut Context<Self>) {
        context.stop();
    }
}

/// Never answered: the handler itself waits, so everything behind it stays queued.
struct Block(Arc<Notify>);

impl Order for Block {
    type Reply = ();
}

impl Handler<Envelope<Block>> for Clerk {
    type Result = actix::AtomicResponse<Self, ()>;

    fn handle(&mut self, envelope: Envelope<Block>, _: &mut Context<Self>) -> Self::Result {
        use actix::WrapFuture;
        actix::AtomicResponse::new(Box::pin(
            async move {
                envelope.order.0.notified().await;
                envelope.ticket.answer(());
            }
            .into_actor(self),
        ))
    }
}

struct Rig {
    mailbox: Mailbox<Clerk>,
    gate: Arc<Semaphore>,
    done: Arc<AtomicUsize>,
}

fn start(capacity: usize) -> Rig {
    let (gate, done) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let address = Clerk { gate: Arc::clone(&gate), done: Arc::clone(&done) }.start();
    Rig { mailbox: Mailbox::new(address, "clerk", capacity), gate, done }
}

/// Waits for a condition that the actor's thread brings about.
async fn until(condition: impl Fn() -> bool) {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the condition came true");
}

#[actix_web::test]
async fn a_full_mailbox_says_busy_and_one_below_does_not() {
    let rig = start(2);

    let first = rig.mailbox.try_ask(Work).expect("the first of two places");
    let second = rig.mailbox.try_ask(Work).expect("the second of two places");
    assert_eq!(rig.mailbox.try_ask(Work).err(), Some(Refused::Busy));
    assert_eq!((rig.mailbox.depth(), rig.mailbox.capacity()), (2, 2));

    rig.gate.add_permits(2);
    assert!(first.await.is_ok() && second.await.is_ok());
    assert_eq!(rig.mailbox.depth(), 0);
}

#[actix_web::test]
async fn the_place_is_held_until_the_work_ends_and_not_only_until_the_handler_returns() {
    let rig = start(1);
    let reply = rig.mailbox.try_ask(Work).expect("admitted");
    // Time enough for the handler to return: the work in its task still waits at the gate.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }

    assert_eq!(rig.mailbox.try_ask(Work).err(), Some(Refused::Busy));

    rig.gate.add_permits(1);
    assert_eq!(reply.await, Ok(1));
    assert!(rig.mailbox.try_ask(Work).is_ok(), "the place is free as soon as the caller knows");
}

#[actix_web::test]
async fn a_caller_who_leaves_does_not_cancel_what_was_admitted() {
    let rig = start(8);
    let key = Arc::new(Notify::new());
    // The actor is held up, so that the order is still queued when its caller leaves: there actix itself would skip it.
    let held = rig.mailbox.try_ask(Block(Arc::clone(&key))).expect("admitted");

    drop(rig.mailbox.try_ask(Work).expect("admitted"));
    key.notify_one();
    assert_eq!(held.await, Ok(()));
    rig.gate.add_permits(1);

    until(|| rig.done.load(Ordering::SeqCst) == 1).await;
    until(|| rig.mailbox.depth() == 0).await;
}

#[actix_web::test]
async fn who_waits_gets_the_next_place_and_who_waits_too_long_hears_busy() {
    let rig = start(1);
    let first = rig.mailbox.try_ask(Work).expect("admitted");

    let too_long = rig.mailbox.ask_within(Work, Duration::from_millis(20)).await;
    assert_eq!(too_long.err(), Some(Refused::Busy));

    let patient = rig.mailbox.ask_within(Work, Duration::from_secs(20));
    rig.gate.add_permits(2);
    let (first, second) = futures_util::future::join(first, async { patient.await.expect("admitted").await }).await;
    assert_eq!((first, second), (Ok(1), Ok(2)));
}

#[actix_web::test]
async fn news_count_like_orders_and_wait_for_their_place() {
    let rig = start(1);

    rig.mailbox.try_tell(News).expect("admitted");
    assert_eq!(rig.mailbox.try_tell(News), Err(Refused::Busy));

    rig.gate.add_permits(2);
    assert_eq!(rig.mailbox.tell(News).await, Ok(()));
    until(|| rig.mailbox.depth() == 0).await;
}

#[actix_web::test]
async fn an_actor_that_has_ended_is_gone() {
    let rig = start(4);

    let unanswered = rig.mailbox.try_ask(Retire).expect("admitted").await;

    assert_eq!(unanswered, Err(Gone));
    until(|| !rig.mailbox.is_alive()).await;
    assert_eq!(rig.mailbox.try_ask(Work).err(), Some(Refused::Gone));
    assert_eq!(rig.mailbox.ask_within(Work, Duration::from_secs(20)).await.err(), Some(Refused::Gone));
    assert_eq!(rig.mailbox.tell(News).await, Err(Gone));
    assert_eq!(rig.mailbox.depth(), 0);
}

#[actix_web::test]
async fn an_order_queued_behind_the_end_of_the_actor_is_gone_and_gives_its_place_back() {
    let rig = start(4);
    let key = Arc::new(Notify::new());
    let _held = rig.mailbox.try_ask(Block(Arc::clone(&key))).expect("admitted");
    let _retire = rig.mailbox.try_ask(Retire).expect("admitted");
    let behind = rig.mailbox.try_ask(Work).expect("admitted");

    key.notify_one();

    assert_eq!(behind.await, Err(Gone));
    until(|| rig.mailbox.depth() == 0).await;
}

#[actix_web::test]
async fn the_capacity_is_exact_for_many_clones_on_many_threads() {
    const CAPACITY: usize = 37;
    const THREADS: usize = 8;
    const TRIES: usize = 200;
    let rig = start(CAPACITY);

    // Nothing is let through the gate, so exactly the capacity may be admitted, however many clones try at once.
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let mailbox = rig.mailbox.clone();
            std::thread::spawn(move || (0..TRIES).filter(|_| mailbox.clone().try_ask(Work).is_ok()).count())
        })
        .collect();
    let admitted: usize = threads.into_iter().map(|thread| thread.join().expect("a thread")).sum();

    assert_eq!(admitted, CAPACITY);
    assert_eq!(rig.mailbox.depth(), CAPACITY);
    rig.gate.add_permits(CAPACITY);
    until(|| rig.done.load(Ordering::SeqCst) == CAPACITY).await;
    until(|| rig.mailbox.depth() == 0).await;
}

/// A handler that panics in its task loses only its own order.
struct Stumble;

impl Order for Stumble {
    type Reply = ();
}

impl Handler<Envelope<Stumble>> for Clerk {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, envelope: Envelope<Stumble>, _: &mut Context<Self>) -> Self::Result {
        let task = actix::spawn(async move {
            let _ticket = envelope.ticket;
            panic!("planted");
        });
        Box::pin(async move { assert!(task.await.is_err(), "the panic comes back as a value") })
    }
}

#[actix_web::test]
async fn work_that_panics_in_its_task_gives_its_place_back_and_the_actor_lives_on() {
    let rig = start(1);

    let stumbled = rig.mailbox.try_ask(Stumble).expect("admitted").await;

    assert_eq!(stumbled, Err(Gone));
    until(|| rig.mailbox.depth() == 0).await;
    rig.gate.add_permits(1);
    assert_eq!(rig.mailbox.try_ask(Work).expect("admitted").await, Ok(1));
}
