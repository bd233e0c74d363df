//! Moves the machine's bytes: a stream to each control plane that is in use, opened again for ever, and
//! nothing else.

use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use rand::Rng;
use tokio::sync::{mpsc, watch};

use super::machine::{Machine, Status};
use super::server::Server;
use super::stream::{Event, Stream};
use crate::assemble::Assembled;
use crate::csds::Questions;
use crate::dns::Lookups;
use crate::link::Wire;
use crate::listener_name::Wanted;

/// What the other side of [`run`] holds: asks for tables, sees how the link stands.
#[derive(Debug)]
pub struct Control {
    /// What calls have asked for: tables, or listeners in gRPC's dialect.
    pub wanted: mpsc::UnboundedReceiver<Wanted>,
    /// Where the link's state is told.
    pub status: watch::Sender<Status>,
    /// Looks up the names that clusters of DNS types have.
    pub lookups: Lookups,
    /// What the client's own status service is asked.
    pub csds: Questions,
}

/// Runs until every sender of [`Control::wanted`] is gone. `publish` gets each new generation. `servers` are
/// those that the machine was made with, in its order: one [`Server`], or a list of them.
pub async fn run(
    servers: impl IntoIterator<Item = Server>,
    mut machine: Machine,
    mut control: Control,
    mut rng: impl Rng,
    mut publish: impl FnMut(Assembled),
) {
    let mut lines: Vec<Line> = servers.into_iter().map(Line::new).collect();
    loop {
        if !control.take_wanted(&mut machine) {
            return;
        }
        if let Some(assembled) = machine.assemble(now()) {
            publish(assembled);
        }
        control.tell(&machine);
        control.lookups.follow(&machine.lookups());
        follow(&mut lines, &mut machine);
        let wake_at = machine.wake_at();
        tokio::select! {
            (at, event) = any(&mut lines) => heed(at, event, &mut lines, &mut machine, &mut rng),
            (lookup, answer) = control.lookups.next() => machine.looked_up(&lookup, answer),
            question = control.csds.next() => question.answer(&machine),
            wanted = control.wanted.recv() => match wanted {
                Some(table) => drop(machine.want(table)),
                None => return,
            },
            () = sleep_until(wake_at) => {}
        }
    }
}

/// A control plane, and the stream to it while there is one.
struct Line {
    server: Server,
    wire: Option<Wire>,
    stream: Option<Stream>,
    /// When to open the next stream.
    reopen_at: Option<Instant>,
    last_error: Option<String>,
}

impl Line {
    const fn new(server: Server) -> Self {
        Self {
            server,
            wire: None,
            stream: None,
            reopen_at: None,
            last_error: None,
        }
    }

    /// `None` when it is time to open the stream.
    async fn next(&mut self) -> Option<Event> {
        match &mut self.stream {
            Some(stream) => Some(stream.next().await),
            None => {
                sleep_until(self.reopen_at).await;
                None
            }
        }
    }
}

/// Opens, fills and closes streams as the machine has it.
fn follow(lines: &mut [Line], machine: &mut Machine) {
    let in_use = machine.servers_in_use();
    for (at, line) in lines.iter_mut().enumerate() {
        if at >= in_use {
            (line.stream, line.wire, line.reopen_at) = (None, None, None);
            continue;
        }
        let mut link = machine.at(at);
        let due = link.reconnect_at().is_none_or(|at| at <= now());
        if line.stream.is_none() && due {
            let wire = line.wire.get_or_insert_with(|| line.server.connect_lazy());
            line.stream = Some(Stream::open(wire.clone(), link.variant()));
            link.connected();
        }
        line.reopen_at = link.reconnect_at();
        if let Some(stream) = &mut line.stream {
            stream.write(&mut link, now());
        }
    }
}

/// Hands the machine what a stream has come to.
fn heed(
    at: usize,
    event: Option<Event>,
    lines: &mut [Line],
    machine: &mut Machine,
    rng: &mut impl Rng,
) {
    let (Some(event), Some(line)) = (event, lines.get_mut(at)) else {
        return;
    };
    match event {
        Event::Writable => {}
        Event::Response(response) => machine.at(at).received(response),
        Event::Delta(response) => machine.at(at).received_delta(response),
        Event::Ended {
            unimplemented,
            error,
        } => {
            line.stream = None;
            let server = line.server.uri();
            if unimplemented && machine.at(at).unimplemented() {
                tracing::info!(%server, "the control plane does not speak delta xDS; state of the world it is");
                return;
            }
            // Said once per cause: a control plane that is away for an hour fills no log.
            if line.last_error.as_ref() == Some(&error) {
                tracing::debug!(%server, error, "still no stream to the control plane");
            } else {
                tracing::warn!(%server, error, "no stream to the control plane; what it sent stays in force");
            }
            machine.at(at).disconnected(error.as_str(), now(), rng);
            line.last_error = Some(error);
        }
    }
}

/// The first thing that any of them comes to. Can be dropped and called again without loss.
async fn any(lines: &mut [Line]) -> (usize, Option<Event>) {
    let mut all: Vec<Pin<Box<dyn Future<Output = Option<Event>> + Send + '_>>> = Vec::new();
    for line in lines.iter_mut() {
        all.push(Box::pin(line.next()));
    }
    std::future::poll_fn(|context| {
        for (at, next) in all.iter_mut().enumerate() {
            if let Poll::Ready(event) = next.as_mut().poll(context) {
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    })
    .await
}

impl Control {
    /// Takes all that is asked for by now, so that it goes out as one request. Returns false when nobody can
    /// ask for anything any more.
    fn take_wanted(&mut self, machine: &mut Machine) -> bool {
        loop {
            match self.wanted.try_recv() {
                Ok(table) => drop(machine.want(table)),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn tell(&self, machine: &Machine) {
        self.status.send_if_modified(|status| {
            let differs = status != machine.status();
            if differs {
                status.clone_from(machine.status());
            }
            differs
        });
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
