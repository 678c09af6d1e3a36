//! Metrics as envelopes: counters with delta and total, and gauges, with the names of their instruments.
//!
//! The SDK collects cumulative values at each interval, also of idle instruments, which the original emits as well. The
//! delta is the increase since the last interval. A monotonic sum of integers becomes a counter, and any other number a
//! gauge. A histogram becomes the counters `NAME_count` and `NAME_bucket` (with a cumulative tag `le`, as PromQL
//! requires) and the gauge `NAME_sum`. The tags are the attributes, `origin` and `metric_version`. The source id is
//! that of the meter's component.

mod series;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use parking_lot::Mutex;
use weir_envelope::batch::BatchBuilder;
use weir_service::clock;

use crate::identity::Identity;
use crate::metrics::series::{Number, Page, Totals};
use crate::outbox::Outbox;

pub use series::NAME_PREFIX;

/// Exports every collection to the outbox.
#[derive(Debug)]
pub(crate) struct EnvelopeExporter {
    outbox: Arc<Outbox>,
    instance_id: String,
    totals: Mutex<Totals>,
}

impl EnvelopeExporter {
    pub(crate) fn new(outbox: Arc<Outbox>, instance_id: String) -> Self {
        Self {
            outbox,
            instance_id,
            totals: Mutex::default(),
        }
    }
}

impl PushMetricExporter for EnvelopeExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let timestamp = clock::now_nanos();
        let mut builder = BatchBuilder::new();
        let mut totals = self.totals.lock();
        for scope in metrics.scope_metrics() {
            let identity = Identity::of(scope.scope().name());
            let mut page = Page::new(&mut builder, &mut totals, identity, &self.instance_id, timestamp);
            for metric in scope.metrics() {
                write(&mut page, metric);
            }
        }
        drop(totals);
        self.outbox.put_batch(builder.finish());
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn write(page: &mut Page<'_>, metric: &Metric) {
    match metric.data() {
        AggregatedMetrics::F64(data) => write_data(page, metric, data),
        AggregatedMetrics::U64(data) => write_data(page, metric, data),
        AggregatedMetrics::I64(data) => write_data(page, metric, data),
    }
}

fn write_data<T: Number>(page: &mut Page<'_>, metric: &Metric, data: &MetricData<T>) {
    let (name, unit) = (metric.name(), metric.unit());
    match data {
        MetricData::Gauge(gauge) => {
            for point in gauge.data_points() {
                page.gauge(name, unit, point.value().as_f64(), point.attributes());
            }
        }
        MetricData::Sum(sum) => {
            for point in sum.data_points() {
                match point.value().as_count().filter(|_| sum.is_monotonic()) {
                    Some(total) => page.counter(name, total, point.attributes(), None),
                    None => page.gauge(name, unit, point.value().as_f64(), point.attributes()),
                }
            }
        }
        MetricData::Histogram(histogram) => {
            for point in histogram.data_points() {
                page.counter(&format!("{name}_count"), point.count(), point.attributes(), None);
                page.gauge(&format!("{name}_sum"), unit, point.sum().as_f64(), point.attributes());
                let bounds = point.bounds().map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
                let mut below = 0;
                for (bound, count) in bounds.zip(point.bucket_counts()) {
                    below += count;
                    page.counter(
                        &format!("{name}_bucket"),
                        below,
                        point.attributes(),
                        Some(("le", &bound)),
                    );
                }
            }
        }
        MetricData::ExponentialHistogram(histogram) => {
            for point in histogram.data_points() {
                let count = u64::try_from(point.count()).unwrap_or(u64::MAX);
                page.counter(&format!("{name}_count"), count, point.attributes(), None);
                page.gauge(&format!("{name}_sum"), unit, point.sum().as_f64(), point.attributes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
