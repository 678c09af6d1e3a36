//! Runs queries: on threads of their own, so many at a time ([`Turns`]), each within its limits.
//!
//! Nothing here shares a thread with ingest: a heavy query competes for cores, never for a place in the queue. Whoever
//! drops the future of a query ends it at the next batch, or while it is planned at the next operator of its plan. It keeps
//! its turn until then: so at most as many threads are lost to what ends late as queries may run at the same time.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinError};
use tokio::time::Instant;
use weir_flow::Turns;
use weir_log_cache_store::Store;

use crate::answer::collect::{Bounds, Collector};
use crate::answer::{Format, Layout, Rendered};
use crate::error::QueryError;
use crate::followers::Followers;
use crate::interrupt::Interrupt;
use crate::patterns::{self, When};
use crate::provider::View;
use crate::visibility::Visibility;
use crate::{explain, guard, names, policy, session, values, zones};

/// Stack of a query's thread. Planning recurses as deep as the query is long (see [`mod@crate::guard`]); memory is taken
/// only as far as it is used.
pub(crate) const STACK: usize = 128 << 20;

/// Queries that wait for each that may run.
const WAITING_PER_RUNNING: usize = 8;

/// What queries may take.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// Threads for all queries together.
    pub threads: usize,
    /// Queries that run at the same time, all but one of which may be of one caller; eight times as many may wait.
    pub concurrent: usize,
    /// Memory of a query, in bytes.
    pub memory: usize,
    /// Most rows of an answer, whatever is asked for.
    pub max_rows: usize,
    /// Rows of an answer if nothing is asked for.
    pub default_rows: usize,
    /// Most bytes of an answer, as Arrow arrays: that is what is held until it was read. As text it may be four times as
    /// long.
    pub max_bytes: usize,
    /// Longest time that a query may ask for, waiting for its turn included.
    pub max_timeout: Duration,
    /// Time of a query if it does not ask.
    pub default_timeout: Duration,
    /// Live queries at the same time.
    pub followers: usize,
    /// Live queries of one caller at the same time.
    pub followers_per_caller: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads: cores,
            concurrent: cores.max(2),
            memory: 256 << 20,
            max_rows: 1_000_000,
            default_rows: 10_000,
            max_bytes: 64 << 20,
            max_timeout: Duration::from_secs(300),
            default_timeout: Duration::from_secs(30),
            followers: 64,
            followers_per_caller: 16,
        }
    }
}

impl EngineLimits {
    /// Most bytes of an answer as text, which is written as it is read.
    pub(crate) const fn max_text(&self) -> usize {
        self.max_bytes.saturating_mul(4)
    }
}

/// A query.
#[derive(Debug, Clone)]
pub struct Query {
    /// What is asked.
    pub sql: String,
    /// Who asks: the same text for all requests of one user or client, among whom turns are shared.
    pub caller: String,
    /// What whoever asks may see.
    pub visibility: Visibility,
    /// How long it may take (a live one: to be made ready); at most [`EngineLimits::max_timeout`].
    pub timeout: Option<Duration>,
    /// How many rows the answer may have; at most [`EngineLimits::max_rows`]. Not for live ones.
    pub max_rows: Option<usize>,
}

/// What a query found.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// How many rows there are.
    pub rows: usize,
    /// Set if there would have been more, and what they exceeded.
    pub truncated: Option<Truncated>,
    /// Bytes that its rows take.
    pub(crate) held: usize,
    /// Bytes of its largest row.
    pub(crate) largest: usize,
}

/// Which limit cut an answer short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncated {
    /// It has as many rows as it may.
    Rows,
    /// It has as many bytes as it may.
    Bytes,
}

impl Truncated {
    /// The limit's name, for headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
        }
    }
}

/// Runs queries over a store. Clones share threads and limits.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) limits: EngineLimits,
    pub(crate) template: SessionState,
    /// Taken out when the engine is dropped.
    runtime: Option<Runtime>,
    pub(crate) turns: Turns,
    pub(crate) followers: Followers,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Waiting for its threads is not possible from within another runtime, nor needed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends a task when its owner is gone.
#[derive(Debug)]
pub(crate) struct EndOnDrop {
    pub(crate) task: AbortHandle,
    pub(crate) interrupt: Interrupt,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.interrupt.set();
        self.task.abort();
    }
}

impl Engine {
    /// An engine over `store`.
    ///
    /// # Errors
    /// If its threads or its session cannot be made.
    pub fn new(store: Store, limits: EngineLimits) -> Result<Self, QueryError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(limits.threads.max(1))
            .thread_name("log-cache-query")
            .thread_stack_size(STACK)
            .enable_time()
            .build()
            .map_err(|error| QueryError::Internal(error.to_string()))?;
        let template =
            session::template(limits.threads.max(1)).map_err(|error| QueryError::from_datafusion(&error, 0))?;
        let inner = Inner {
            store,
            template,
            turns: Turns::new(limits.concurrent, limits.concurrent.max(1) * WAITING_PER_RUNNING),
            followers: Followers::new(limits.followers, limits.followers_per_caller),
            runtime: Some(runtime),
            limits,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What queries may take.
    #[must_use]
    pub fn limits(&self) -> &EngineLimits {
        &self.inner.limits
    }

    /// Runs a query. Dropping the future ends the query.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query(&self, query: Query) -> Result<Answer, QueryError> {
        self.within_limits(query, Format::Arrow, Ok).await
    }

    /// Runs a query and begins to write its answer as `format`, both on the engine's threads; `layout` is for
    /// what people read.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn render(&self, query: Query, format: Format, layout: Layout) -> Result<Rendered, QueryError> {
        let engine = self.clone();
        let write = move |answer| format.render(answer, layout, &engine);
        self.within_limits(query, format, write).await
    }

    async fn within_limits<T: Send + 'static>(
        &self,
        query: Query,
        format: Format,
        finish: impl FnOnce(Answer) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let inner = Arc::clone(&self.inner);
        let (caller, timeout) = (query.caller.clone(), query.timeout);
        let work = |interrupt| async move { finish(run(inner, query, format, interrupt).await?) };
        self.in_turn(&caller, timeout, work).await
    }

    /// Does a query's work on the engine's threads when it is the caller's turn, both within its time. The turn is over
    /// when the work is, whether somebody waits for it or not.
    pub(crate) async fn in_turn<T, W>(
        &self,
        caller: &str,
        timeout: Option<Duration>,
        work: impl FnOnce(Interrupt) -> W,
    ) -> Result<T, QueryError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        let limits = &self.inner.limits;
        let allowed = timeout.unwrap_or(limits.default_timeout).min(limits.max_timeout);
        let deadline = Instant::now() + allowed;
        let timeout = || QueryError::Timeout { after: allowed };
        let turn = tokio::time::timeout_at(deadline, self.inner.turns.take(caller))
            .await
            .map_err(|_| timeout())??;
        let interrupt = Interrupt::default();
        // In this order: where the work is dropped before it began, too, the turn is over after it.
        let held = (work(interrupt.clone()), turn);
        let task = self.spawn(async move {
            let (work, _turn) = held;
            work.await
        })?;
        let _end = EndOnDrop {
            task: task.abort_handle(),
            interrupt,
        };
        match tokio::time::timeout_at(deadline, task).await {
            Err(_) => Err(timeout()),
            Ok(Err(error)) => Err(lost(&error)),
            Ok(Ok(answer)) => answer,
        }
    }

    /// Runs something on the engine's threads.
    pub(crate) fn spawn<F>(&self, work: F) -> Result<tokio::task::JoinHandle<F::Output>, QueryError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner
            .runtime
            .as_ref()
            .map(|runtime| runtime.spawn(work))
            .ok_or(QueryError::Stopping)
    }
}

/// What became of a task that did not end by itself.
pub(crate) fn lost(error: &JoinError) -> QueryError {
    if error.is_panic() {
        QueryError::Internal("a panic".to_owned())
    } else {
        QueryError::Stopping
    }
}

async fn run(inner: Arc<Inner>, query: Query, format: Format, interrupt: Interrupt) -> Result<Answer, QueryError> {
    let memory = inner.limits.memory;
    let ours = |error: DataFusionError| QueryError::from_datafusion(&error, memory);
    let view = View::new(inner.store.clone(), query.visibility.clone());
    let mut state = session::session(&inner.template, view, memory, interrupt).map_err(ours)?;
    let statement = zones::resolve(guard::parse(&query.sql)?)?;
    let plan = state.statement_to_plan(statement).await.map_err(ours)?;
    let reading = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    reading.verify_plan(&plan).map_err(ours)?;
    let plan = names::distinct(explain::conceal(plan, &query.visibility)).map_err(ours)?;
    patterns::check(&plan, When::Planned)?;
    let plan = state.optimize(&plan).map_err(ours)?;
    patterns::check(&plan, When::Optimized)?;
    let config = state.config().clone().with_batch_size(policy::batch_rows(&plan)?);
    *state.config_mut() = config;
    let plan = state
        .query_planner()
        .create_physical_plan(&plan, &state)
        .await
        .map_err(ours)?;
    let mut batches = execute_stream(plan, state.task_ctx()).map_err(ours)?;
    zones::check(&batches.schema())?;
    let max_rows = query
        .max_rows
        .unwrap_or(inner.limits.default_rows)
        .min(inner.limits.max_rows);
    let bounds = Bounds {
        rows: max_rows,
        held: inner.limits.max_bytes,
        text: inner.limits.max_text(),
    };
    let mut answer = Collector::new(&batches.schema(), bounds, format)?;
    while let Some(batch) = batches.next().await {
        if !answer.push(&values::readable(batch.map_err(ours)?)?)? {
            break;
        }
    }
    Ok(answer.finish())
}
