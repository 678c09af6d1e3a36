//! Live queries: a filter and a projection over rows as they arrive.
//!
//! The query is planned once, over a table whose only row batches are the ones that are put into its slot; each arrival is
//! put there and the plan is run over it. So live and stored rows are treated by the same code.

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
use weir_log_cache_store::{Rows, Selection, Tap, Tapped, Visibility};

use crate::answer::collect::portions;
use crate::engine::{EndOnDrop, Engine, Inner, Query, lost};
use crate::error::QueryError;
use crate::interrupt::Interrupt;
use crate::patterns::{self, When};
use crate::{guard, policy, session, values, zones};

mod table;

use table::{LiveCatalog, LiveScan, LiveSchema, Slot};

/// Batches of arrivals that wait for a live query; what it would see of those beyond is counted as missed.
const QUEUE: usize = 256;

/// What a live query found that waits for its follower, in batches.
const FOUND: usize = 16;

/// Bytes of rows that a follower gets at once, unless a single row has more.
const PORTION: usize = 256 << 10;

/// A query that can be evaluated on arrivals.
#[derive(Debug)]
pub struct LiveQuery {
    shown: Shown,
    columns: Vec<usize>,
    slot: Slot,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    interrupt: Interrupt,
    memory: usize,
    batch_rows: usize,
}

/// What of a table a caller may see.
#[derive(Debug, Clone)]
struct Shown {
    table: Table,
    visibility: Visibility,
}

impl Shown {
    /// Those of `rows`, which are of the table's kind.
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

/// What a follower gets.
#[derive(Debug, Clone)]
pub enum Live {
    /// Rows that meet the condition.
    Rows(RecordBatch),
    /// This many rows of the table that the caller may see came and went while the follower was busy, whether they met the
    /// condition or not.
    Missed(u64),
}

/// The end of a live query at which its follower hears what it finds, or why it failed.
pub(crate) type Found = mpsc::Sender<Result<Live, QueryError>>;

/// A live query that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Follower {
    rows: mpsc::Receiver<Result<Live, QueryError>>,
    schema: SchemaRef,
    /// What sends the rows; `None` when it was heard how that ended.
    task: Option<JoinHandle<()>>,
    _end: EndOnDrop,
    /// Its threads do the work.
    _engine: Engine,
}

impl Follower {
    /// The columns of the rows to come.
    #[must_use]
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Waits for rows. After an error, and when the store is gone, there are no more. Cancel safe.
    ///
    /// # Errors
    /// If the query fails on a row, or breaks off by a fault of ours.
    pub async fn next(&mut self) -> Option<Result<Live, QueryError>> {
        if let Some(next) = self.rows.recv().await {
            return Some(next);
        }
        let ended = self.task.as_mut()?.await;
        self.task = None;
        ended.err().map(|error| Err(lost(&error)))
    }
}

impl Engine {
    /// Makes a query ready to be evaluated on arrivals: planned when it is the caller's turn, within the query's time, as
    /// any other.
    ///
    /// # Errors
    /// If it is more than a filter and a projection of one table, and as for any query.
    pub async fn compile_live(&self, query: Query) -> Result<LiveQuery, QueryError> {
        Ok(self.compile_with(query, ()).await?.0)
    }

    /// The same, holding on to `held` as long as it is worked on, whether somebody waits for it or not.
    async fn compile_with<T: Send + 'static>(&self, query: Query, held: T) -> Result<(LiveQuery, T), QueryError> {
        let inner = Arc::clone(&self.inner);
        let (caller, timeout) = (query.caller.clone(), query.timeout);
        // Planning cannot be interrupted, and the plan outlives it: it has an interrupt of its own.
        let work = |_| async move { Ok((compile(&inner, query).await?, held)) };
        self.in_turn(&caller, timeout, work).await
    }

    /// Follows a query: rows that arrive from now on.
    ///
    /// # Errors
    /// As [`Engine::compile_live`], and if the caller, or all callers together, follow too many already.
    pub async fn follow(&self, query: Query) -> Result<Follower, QueryError> {
        let following = self.inner.followers.add(&query.caller)?;
        let (query, following) = self.compile_with(query, following).await?;
        let (schema, interrupt) = (query.plan.schema(), query.interrupt.clone());
        let (kind, shown) = (query.shown.table.kind(), query.shown.clone());
        let tap = self.inner.store.tap(kind, QUEUE, move |rows| shown.of(rows).len());
        self.listen(schema, interrupt, |found| async move {
            let _following = following;
            query.run(tap, found).await;
        })
    }

    /// Listens to `work`, which is done on the engine's threads; both end with the follower.
    pub(crate) fn listen<W>(
        &self,
        schema: SchemaRef,
        interrupt: Interrupt,
        work: impl FnOnce(Found) -> W,
    ) -> Result<Follower, QueryError>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (found, rows) = mpsc::channel(FOUND);
        let task = self.spawn(work(found))?;
        Ok(Follower {
            rows,
            schema,
            _end: EndOnDrop {
                task: task.abort_handle(),
                interrupt,
            },
            task: Some(task),
            _engine: self.clone(),
        })
    }
}

impl LiveQuery {
    /// Evaluates what comes through `tap`, until it fails, nobody listens any more, or the store is gone.
    async fn run(self, mut tap: Tap, follower: Found) {
        while let Some(arrived) = tap.next().await {
            let found = match arrived {
                Tapped::Missed(rows) => vec![Ok(Live::Missed(rows))],
                Tapped::Rows(rows) => match self.evaluate(&rows).await {
                    Ok(batches) => batches.iter().flat_map(rows_found).collect(),
                    Err(error) => vec![Err(error)],
                },
            };
            for found in found {
                let failed = found.is_err();
                if follower.send(found).await.is_err() || failed {
                    return;
                }
            }
        }
    }

    /// The table that is followed.
    #[must_use]
    pub const fn table(&self) -> Table {
        self.shown.table
    }

    /// The columns of the answers.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// What the query makes of rows that arrived, which must be of the table's kind. Batches without rows are left out.
    ///
    /// # Errors
    /// If the query fails on a row.
    pub async fn evaluate(&self, rows: &Arc<Rows>) -> Result<Vec<RecordBatch>, QueryError> {
        let ours = |error: DataFusionError| QueryError::from_datafusion(&error, self.memory);
        let (table, selection) = (self.shown.table, self.shown.of(rows));
        let arrived = Batches::new(table, Arc::clone(rows), selection, &self.columns).with_batch_rows(self.batch_rows);
        let arrived = arrived
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ours(error.into()))?;
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

/// What was found, in portions that are written one by one.
fn rows_found(batch: &RecordBatch) -> Vec<Result<Live, QueryError>> {
    match portions(batch, PORTION) {
        Ok(portions) => portions.into_iter().map(|batch| Ok(Live::Rows(batch))).collect(),
        Err(error) => vec![Err(error)],
    }
}

async fn compile(inner: &Inner, query: Query) -> Result<LiveQuery, QueryError> {
    let Query { sql, visibility, .. } = query;
    let interrupt = Interrupt::default();
    let memory = inner.limits.memory;
    let ours = |error: DataFusionError| QueryError::from_datafusion(&error, memory);
    let slot = Slot::default();
    let catalog = Arc::new(LiveCatalog(Arc::new(LiveSchema(slot.clone()))));
    let mut template = inner.template.clone();
    template.config_mut().options_mut().execution.target_partitions = 1;
    let mut state = session::session_over(&template, catalog, memory, interrupt.clone()).map_err(ours)?;
    let plan = state
        .statement_to_plan(zones::resolve(guard::parse(&sql)?)?)
        .await
        .map_err(ours)?;
    check(&plan)?;
    patterns::check(&plan, When::Planned)?;
    let plan = state.optimize(&plan).map_err(ours)?;
    patterns::check(&plan, When::Optimized)?;
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
        shown: Shown { table, visibility },
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

/// Makes sure that each row can be decided by itself.
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
