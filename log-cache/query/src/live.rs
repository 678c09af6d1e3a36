//! Live queries: a filter and a projection that are evaluated on rows as they arrive.
//!
//! The query is planned once, over a table that has only the batches in its slot. For each arrival, the rows are put
//! into the slot and the plan is run. So live rows and stored rows are evaluated by the same code.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_log_cache_store::table::{Batches, Table};
use weir_log_cache_store::{Rows, Selection, Tap, TapEvent, Visibility};

use crate::answer::collect::portions;
use crate::engine::{AbortOnDrop, Engine, Inner, Query, task_error};
use crate::error::QueryError;
use crate::interrupt::Interrupt;
use crate::patterns::{self, PlanStage};
use crate::{guard, policy, session, values, zones};

mod table;

use table::{ArrivalSlot, LiveCatalog, LiveScan, LiveSchema};

/// The number of batches that wait for a live query. Visible rows of further batches are counted as missed.
const QUEUE: usize = 256;

/// The number of result batches that wait for the follower.
const FOUND: usize = 16;

/// The size of the rows that a follower gets at once, in bytes, unless a single row is larger.
const PORTION: usize = 256 << 10;

/// A planned query that can be evaluated on arriving rows.
#[derive(Debug)]
pub struct LiveQuery {
    visible_rows: VisibleRows,
    columns: Vec<usize>,
    slot: ArrivalSlot,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    interrupt: Interrupt,
    memory: usize,
    batch_rows: usize,
}

/// The rows of a table that a caller may read.
#[derive(Debug, Clone)]
struct VisibleRows {
    table: Table,
    visibility: Visibility,
}

impl VisibleRows {
    /// Selects the visible rows of `rows`, which must be of the table's kind.
    fn of(&self, rows: &Rows) -> Selection {
        let identities = rows.identities().iter();
        let shows: Vec<bool> = identities
            .map(|identity| self.visibility.shows(identity.source().id()))
            .collect();
        let mut visible = Selection::default();
        for row in 0..rows.len() {
            if shows[rows.identity_index(row)] {
                visible.push(row..row + 1);
            }
        }
        self.table.restrict(rows, visible)
    }
}

/// The next item for a follower.
#[derive(Debug, Clone)]
pub enum Live {
    /// Rows that meet the condition.
    Rows(RecordBatch),
    /// The number of visible rows of the table that the follower missed because it was too slow, whether they met the
    /// condition or not.
    Missed(u64),
}

/// The sender of a live query's results, or of the reason why it failed.
pub(crate) type ResultSender = mpsc::Sender<Result<Live, QueryError>>;

/// A running live query. Dropping this ends it.
#[derive(Debug)]
pub struct Follower {
    rows: mpsc::Receiver<Result<Live, QueryError>>,
    schema: SchemaRef,
    /// The task that sends the rows; `None` once its end was reported.
    task: Option<JoinHandle<()>>,
    _end: AbortOnDrop,
    /// Keeps the engine's threads alive, which do the work.
    _engine: Engine,
}

impl Follower {
    /// The columns of the rows.
    #[must_use]
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Waits for the next item. It returns `None` after an error, and when the store was dropped. Cancel safe.
    ///
    /// # Errors
    /// If the query fails on a row, or ends by a fault of the log cache.
    pub async fn next(&mut self) -> Option<Result<Live, QueryError>> {
        if let Some(next) = self.rows.recv().await {
            return Some(next);
        }
        // The channel closes when the task ends. Only the task knows whether that was a panic.
        let ended = self.task.as_mut()?.await;
        self.task = None;
        ended.err().map(|error| Err(task_error(&error)))
    }
}

impl Engine {
    /// Plans a live query, as any other query: when it is the caller's turn, and within the query's time-out.
    ///
    /// # Errors
    /// If the query is more than a filter and a projection of one table, and as for any other query.
    pub async fn compile_live(&self, query: Query) -> Result<LiveQuery, QueryError> {
        Ok(self.compile_with(query, ()).await?.0)
    }

    /// Plans a live query, and keeps `held` until planning ends, even if the caller has gone before.
    async fn compile_with<T: Send + 'static>(&self, query: Query, held: T) -> Result<(LiveQuery, T), QueryError> {
        let inner = Arc::clone(&self.inner);
        let (caller, timeout) = (query.caller.clone(), query.timeout);
        // The interrupt of the turn is not used. The plan outlives the turn, and so has an interrupt of its own.
        let work = |_| async move { Ok((compile(&inner, query).await?, held)) };
        self.in_turn(&caller, timeout, work).await
    }

    /// Starts a live query, which evaluates the rows that arrive from now on.
    ///
    /// # Errors
    /// As for [`Engine::compile_live`], and if the caller or all callers together have too many live queries.
    pub async fn follow(&self, query: Query) -> Result<Follower, QueryError> {
        // Counted before planning, so that refused callers cost no planning.
        let following = self.inner.followers.add(&query.caller)?;
        let (query, following) = self.compile_with(query, following).await?;
        let (schema, interrupt) = (query.plan.schema(), query.interrupt.clone());
        let (kind, visible_rows) = (query.visible_rows.table.kind(), query.visible_rows.clone());
        let tap = self
            .inner
            .store
            .tap(kind, QUEUE, move |rows| visible_rows.of(rows).len());
        self.listen(schema, interrupt, |found| async move {
            let _following = following;
            query.run(tap, found).await;
        })
    }

    /// Runs `work` on the engine's threads, and returns the follower of its results. The work ends when the follower is
    /// dropped.
    pub(crate) fn listen<W>(
        &self,
        schema: SchemaRef,
        interrupt: Interrupt,
        work: impl FnOnce(ResultSender) -> W,
    ) -> Result<Follower, QueryError>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (found, rows) = mpsc::channel(FOUND);
        let task = self.spawn(work(found))?;
        Ok(Follower {
            rows,
            schema,
            _end: AbortOnDrop {
                task: task.abort_handle(),
                interrupt,
            },
            task: Some(task),
            _engine: self.clone(),
        })
    }
}

impl LiveQuery {
    /// Evaluates the rows that come through `tap`, until that fails, the follower is dropped, or the store is dropped.
    async fn run(self, mut tap: Tap, follower: ResultSender) {
        while let Some(arrived) = tap.next().await {
            let found = match arrived {
                TapEvent::Missed(rows) => vec![Ok(Live::Missed(rows))],
                TapEvent::Rows(rows) => match self.evaluate(&rows).await {
                    Ok(batches) => batches.iter().flat_map(rows_found).collect(),
                    Err(error) => vec![Err(error)],
                },
            };
            for found in found {
                let failed = found.is_err();
                // The queue is bounded, so a slow follower stops the evaluation, and the tap counts what it misses
                // meanwhile.
                if follower.send(found).await.is_err() || failed {
                    return;
                }
            }
        }
    }

    /// The table that the query reads.
    #[must_use]
    pub const fn table(&self) -> Table {
        self.visible_rows.table
    }

    /// The columns of the results.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// Evaluates the query on arriving rows, which must be of the table's kind. Batches without rows are left out.
    ///
    /// # Errors
    /// If the query fails on a row.
    pub async fn evaluate(&self, rows: &Arc<Rows>) -> Result<Vec<RecordBatch>, QueryError> {
        let ours = |error: DataFusionError| QueryError::from_datafusion(&error, self.memory);
        let (table, selection) = (self.visible_rows.table, self.visible_rows.of(rows));
        let arrived = Batches::new(table, Arc::clone(rows), selection, &self.columns).with_batch_rows(self.batch_rows);
        let arrived = arrived
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ours(error.into()))?;
        // The scan of the plan takes them out again when it is run.
        *self.slot.0.lock() = arrived;
        let mut stream = execute_stream(Arc::clone(&self.plan), Arc::clone(&self.context)).map_err(ours)?;
        let mut found = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = values::readable(batch.map_err(ours)?)?;
            if batch.num_rows() > 0 {
                found.push(batch);
            }
        }
        Ok(found)
    }
}

/// Cuts results into portions, which are written one by one.
fn rows_found(batch: &RecordBatch) -> Vec<Result<Live, QueryError>> {
    match portions(batch, PORTION) {
        Ok(portions) => portions.into_iter().map(|batch| Ok(Live::Rows(batch))).collect(),
        Err(error) => vec![Err(error)],
    }
}

/// Plans a live query.
async fn compile(inner: &Inner, query: Query) -> Result<LiveQuery, QueryError> {
    let Query { sql, visibility, .. } = query;
    let interrupt = Interrupt::default();
    let memory = inner.limits.memory;
    let ours = |error: DataFusionError| QueryError::from_datafusion(&error, memory);
    let slot = ArrivalSlot::default();
    let catalog = Arc::new(LiveCatalog(Arc::new(LiveSchema(slot.clone()))));
    let mut template = inner.template.clone();
    // The few rows of an arrival are not worth several threads, and with one partition they keep their order.
    template.config_mut().options_mut().execution.target_partitions = 1;
    let mut state = session::session_over(&template, catalog, memory, interrupt.clone()).map_err(ours)?;
    let plan = state
        .statement_to_plan(zones::resolve(guard::parse(&sql)?)?)
        .await
        .map_err(ours)?;
    check(&plan)?;
    patterns::check(&plan, PlanStage::Planned)?;
    let plan = state.optimize(&plan).map_err(ours)?;
    patterns::check(&plan, PlanStage::Optimized)?;
    let batch_rows = policy::batch_rows(&plan)?;
    let config = state.config().clone().with_batch_size(batch_rows);
    *state.config_mut() = config;
    let plan = state
        .query_planner()
        .create_physical_plan(&plan, &state)
        .await
        .map_err(ours)?;
    zones::check(&plan.schema())?;
    let mut scan = None;
    let mut find = |plan: &Arc<dyn ExecutionPlan>| {
        if let Some(live) = plan.downcast_ref::<LiveScan>() {
            scan = Some((live.table, live.columns.clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    };
    plan.apply(&mut find).map_err(ours)?;
    let Some((table, columns)) = scan else {
        return Err(not_live("it reads none of the tables"));
    };
    let context = state.task_ctx();
    Ok(LiveQuery {
        visible_rows: VisibleRows { table, visibility },
        columns,
        slot,
        plan,
        context,
        interrupt,
        memory,
        batch_rows,
    })
}

fn not_live(reason: &str) -> QueryError {
    QueryError::NotLive {
        reason: reason.to_owned(),
    }
}

/// Checks that a plan can be evaluated on each row alone.
fn check(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut scans = 0;
    let mut reason = None;
    let mut visit = |plan: &LogicalPlan| {
        reason = match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => None,
            LogicalPlan::TableScan(_) => {
                scans += 1;
                (scans > 1).then_some("it reads several tables")
            }
            LogicalPlan::Sort(_) => Some("`ORDER BY` needs an end"),
            LogicalPlan::Limit(_) => Some("`LIMIT` counts rows that are yet to come"),
            LogicalPlan::Aggregate(_) => Some("aggregates need an end"),
            LogicalPlan::Distinct(_) => Some("`DISTINCT` remembers every row"),
            LogicalPlan::Window(_) => Some("window functions look at other rows"),
            LogicalPlan::Join(_) => Some("joins look at other rows"),
            LogicalPlan::Union(_) => Some("it reads several tables"),
            _ => Some("it is more than columns and a condition"),
        };
        if reason.is_some() {
            return Ok(TreeNodeRecursion::Stop);
        }
        plan.apply_expressions(|expr| {
            let subquery = expr.exists(|expr| {
                Ok(matches!(
                    expr,
                    Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
                ))
            })?;
            if subquery {
                reason = Some("subqueries look at other rows");
            }
            Ok(if subquery {
                TreeNodeRecursion::Stop
            } else {
                TreeNodeRecursion::Continue
            })
        })
    };
    plan.apply(&mut visit)
        .map_err(|error| QueryError::Internal(error.to_string()))?;
    reason.map_or(Ok(()), |reason| Err(not_live(reason)))
}
