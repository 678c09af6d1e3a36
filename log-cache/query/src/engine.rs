//! Runs queries on threads of their own, a limited number at a time ([`Turns`]), each within its limits.
//!
//! Queries share no thread with ingest: a heavy query competes with it for cores, and never blocks its runtime.
//! Dropping the future of a query ends the query at its next batch, or during planning at the next operator of its
//! plan. Until then it keeps its turn. So queries that end late occupy at most as many threads as queries may run at a
//! time.

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
use weir_log_cache_store::{Store, Visibility};

use crate::answer::collect::{Bounds, Collector};
use crate::answer::{Format, Layout, Rendered};
use crate::error::QueryError;
use crate::followers::Followers;
use crate::interrupt::Interrupt;
use crate::patterns::{self, PlanStage};
use crate::provider::View;
use crate::{explain, guard, names, policy, session, values, zones};

/// The size of a query thread's stack, in bytes.
///
/// Planning recurses as deep as the query is long ([`mod@crate::guard`]). Only the part that is used takes memory.
pub(crate) const STACK: usize = 128 << 20;

/// The number of queries that may wait, for each one that may run.
const WAITING_PER_RUNNING: usize = 8;

/// The limits of queries.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// The number of threads for all queries together.
    pub threads: usize,
    /// The number of queries that run at a time. One caller may have all but one of them. Eight times as many may wait.
    pub concurrent: usize,
    /// The memory of one query, in bytes.
    pub memory: usize,
    /// The greatest number of rows for which a query may ask.
    pub max_rows: usize,
    /// The greatest number of rows of an answer if the query does not ask for another.
    pub default_rows: usize,
    /// The greatest size of an answer, in bytes of Arrow arrays, which are held until the answer has been read. Its
    /// text may be four times as long.
    pub max_bytes: usize,
    /// The longest time-out for which a query may ask. The wait for its turn counts.
    pub max_timeout: Duration,
    /// The time-out of a query that does not ask for another.
    pub default_timeout: Duration,
    /// The number of live queries at a time.
    pub followers: usize,
    /// The number of live queries of one caller at a time.
    pub followers_per_caller: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads: cores,
            // At least 2, because one caller may have all but one of them.
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
    /// The greatest length of an answer as text, in bytes. The text is written piece by piece as the client reads it.
    pub(crate) const fn max_text(&self) -> usize {
        self.max_bytes.saturating_mul(4)
    }
}

/// A query and its caller.
#[derive(Debug, Clone)]
pub struct Query {
    /// The SQL text.
    pub sql: String,
    /// The caller: one text for all requests of a user or client. Turns are shared out among callers.
    pub caller: String,
    /// The sources that the caller may read.
    pub visibility: Visibility,
    /// The wanted time-out, at most [`EngineLimits::max_timeout`]. For a live query it limits planning only.
    pub timeout: Option<Duration>,
    /// The wanted number of rows, at most [`EngineLimits::max_rows`]. It is ignored for live queries.
    pub max_rows: Option<usize>,
}

/// The answer to a query.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns of the answer.
    pub schema: SchemaRef,
    /// The rows of the answer.
    pub batches: Vec<RecordBatch>,
    /// The number of rows.
    pub rows: usize,
    /// The limit that cut the answer short, if one did.
    pub truncated: Option<Truncated>,
    /// The memory of the rows, in bytes.
    pub(crate) held: usize,
    /// The size of the largest row, in bytes.
    pub(crate) largest: usize,
}

/// The limit that cut an answer short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncated {
    /// The number of rows.
    Rows,
    /// The number of bytes.
    Bytes,
}

impl Truncated {
    /// The name of the limit in HTTP headers.
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
    /// The threads; `None` only while the engine is being dropped.
    runtime: Option<Runtime>,
    pub(crate) turns: Turns,
    pub(crate) followers: Followers,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime must not wait for its threads within another runtime, where engines are dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends a task when this is dropped.
#[derive(Debug)]
pub(crate) struct AbortOnDrop {
    pub(crate) task: AbortHandle,
    pub(crate) interrupt: Interrupt,
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.interrupt.set();
        self.task.abort();
    }
}

impl Engine {
    /// Returns an engine over `store`.
    ///
    /// # Errors
    /// If the threads or the session cannot be created.
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

    /// The limits of queries.
    #[must_use]
    pub fn limits(&self) -> &EngineLimits {
        &self.inner.limits
    }

    /// Runs a query. Dropping the future ends it.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query(&self, query: Query) -> Result<Answer, QueryError> {
        self.within_limits(query, Format::Arrow, Ok).await
    }

    /// Runs a query and writes the first piece of its answer in `format`, both on the engine's threads. `layout` says
    /// how an answer for people is laid out. Dropping the future ends the query.
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

    /// Does the work of a query on the engine's threads when it is the caller's turn, both within the time-out.
    ///
    /// The turn ends when the work ends, even if the caller has gone before.
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
        // A tuple is dropped in order. So the turn ends after the work, even if the task is dropped before it starts.
        let held = (work(interrupt.clone()), turn);
        let task = self.spawn(async move {
            let (work, _turn) = held;
            work.await
        })?;
        let _end = AbortOnDrop {
            task: task.abort_handle(),
            interrupt,
        };
        match tokio::time::timeout_at(deadline, task).await {
            Err(_) => Err(timeout()),
            Ok(Err(error)) => Err(task_error(&error)),
            Ok(Ok(answer)) => answer,
        }
    }

    /// Spawns a task on the engine's threads.
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

/// Returns the error for a task that did not complete.
pub(crate) fn task_error(error: &JoinError) -> QueryError {
    if error.is_panic() {
        QueryError::Internal("a panic".to_owned())
    } else {
        QueryError::Stopping
    }
}

/// Plans and runs a query, and collects its answer.
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
    // A second barrier behind `guard`, which has refused such statements by their syntax.
    reading.verify_plan(&plan).map_err(ours)?;
    let plan = names::distinct(explain::conceal(plan, &query.visibility)).map_err(ours)?;
    // Checked before optimisation, which compiles constant patterns, and after it, when computed constants are
    // literals.
    patterns::check(&plan, PlanStage::Planned)?;
    let plan = state.optimize(&plan).map_err(ours)?;
    patterns::check(&plan, PlanStage::Optimized)?;
    let config = state.config().clone().with_batch_size(policy::batch_rows(&plan)?);
    *state.config_mut() = config;
    let plan = state
        // The planner is called directly, because `SessionState::create_physical_plan` would optimise the plan once
        // more.
        .query_planner()
        .create_physical_plan(&plan, &state)
        .await
        .map_err(ours)?;
    // From here on rows are read. Dropping the stream ends the query.
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
