//! Looks up the names of clusters of type `STRICT_DNS` and `LOGICAL_DNS`, again and again.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

/// How long one look-up may take: Envoy's resolver gives up after 5 s per query, with four attempts.
const LONGEST_LOOKUP: Duration = Duration::from_secs(20);

/// How many look-ups of the platform's resolver run at a time.
const MOST_THREADS: usize = 64;

/// The addresses to come.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Looks up the names of hosts.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a host, best first, each with the port to connect to. Never called with an IP address. None at
    /// all says that the name has none any more; after an error, those that it had are used on.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The platform's resolver. It occupies a thread until it answers, whoever has given up by then: names that hang must
/// not take all the threads that there are.
#[derive(Debug)]
struct System {
    threads: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            threads: Arc::new(Semaphore::new(MOST_THREADS)),
        }
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move {
            let thread = Arc::clone(&self.threads).acquire_owned().await;
            let host = host.to_owned();
            let looking = tokio::task::spawn_blocking(move || {
                let _thread = thread;
                Ok((host.as_str(), port).to_socket_addrs()?.collect())
            });
            looking.await?
        })
    }
}

/// A resolver that clones share; the platform's by default.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Resolve>);

impl Resolver {
    /// One of the application's own.
    pub fn new(resolver: impl Resolve) -> Self {
        Self(Arc::new(resolver))
    }

    /// As [`Resolve::resolve`].
    ///
    /// # Errors
    /// As the resolver says.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.resolve(host, port).await
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(System::default())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// What is to be looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lookup {
    /// The name.
    pub host: Arc<str>,
    /// The port that goes into the addresses.
    pub port: u16,
}

/// What was found: addresses as the resolver tells them, none of them twice, or why there is none.
pub type Answer = Result<Arc<[SocketAddr]>, Arc<str>>;

/// The look-ups that run, each in a task of its own: one that hangs holds up no other.
#[derive(Debug)]
pub struct Lookups {
    resolver: Resolver,
    /// What was last asked for.
    wanted: Arc<BTreeMap<Lookup, Duration>>,
    running: BTreeMap<Lookup, (Duration, Running)>,
    /// With room for one: a name is looked up again only after its last answer was taken, however short its interval.
    sender: mpsc::Sender<(Lookup, Answer)>,
    answers: mpsc::Receiver<(Lookup, Answer)>,
}

/// Ends with its owner.
#[derive(Debug)]
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Default for Lookups {
    fn default() -> Self {
        Self::new(Resolver::default())
    }
}

impl Lookups {
    /// None yet.
    pub fn new(resolver: Resolver) -> Self {
        let (sender, answers) = mpsc::channel(1);
        Self {
            resolver,
            wanted: Arc::default(),
            running: BTreeMap::new(),
            sender,
            answers,
        }
    }

    /// Looks up these names from now on, each at its interval, and no others. Costs nothing for the `Arc` of the last
    /// time. Needs a tokio runtime.
    pub fn follow(&mut self, wanted: &Arc<BTreeMap<Lookup, Duration>>) {
        if Arc::ptr_eq(&self.wanted, wanted) {
            return;
        }
        self.wanted = Arc::clone(wanted);
        self.running
            .retain(|lookup, (every, _)| wanted.get(lookup) == Some(every));
        for (lookup, every) in &**wanted {
            if !self.running.contains_key(lookup) {
                let task = tokio::spawn(repeat(
                    self.resolver.clone(),
                    lookup.clone(),
                    *every,
                    self.sender.clone(),
                ));
                self.running.insert(lookup.clone(), (*every, Running(task)));
            }
        }
    }

    /// The next answer. Can be dropped and called again without loss.
    pub async fn next(&mut self) -> (Lookup, Answer) {
        match self.answers.recv().await {
            Some(answer) => answer,
            // Never: a sender is ours.
            None => std::future::pending().await,
        }
    }
}

async fn repeat(
    resolver: Resolver,
    lookup: Lookup,
    every: Duration,
    answers: mpsc::Sender<(Lookup, Answer)>,
) {
    loop {
        let answer = look_up(&resolver, &lookup).await;
        if answers.send((lookup.clone(), answer)).await.is_err() {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

async fn look_up(resolver: &Resolver, Lookup { host, port }: &Lookup) -> Answer {
    // In a task of its own, so that a resolver that panics is a look-up that failed.
    let mut task = JoinSet::new();
    let (resolver, host, port) = (resolver.clone(), Arc::clone(host), *port);
    task.spawn(async move { resolver.resolve(&host, port).await });
    let mut found = match tokio::time::timeout(LONGEST_LOOKUP, task.join_next()).await {
        Ok(Some(Ok(Ok(found)))) => found,
        Ok(Some(Ok(Err(error)))) => return Err(error.to_string().into()),
        Ok(Some(Err(_)) | None) => return Err("the resolver panicked".into()),
        Err(_) => return Err(format!("no answer within {LONGEST_LOOKUP:?}").into()),
    };
    let mut seen = HashSet::new();
    found.retain(|address| seen.insert(*address));
    Ok(found.into())
}
