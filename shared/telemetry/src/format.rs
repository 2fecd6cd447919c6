//! Log lines that carry the id of the trace they belong to.

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A format with the trace's id added.
///
/// tracing-subscriber has no place for a field that belongs to no event. So a line is formatted as usual, and the id is
/// put in front of text or into the outermost object of JSON.
pub(crate) enum WithTrace {
    Text(Format),
    Json(Format<Json>),
}

/// The id of the trace that the thread is in. The OpenTelemetry layer keeps the current context where spans are entered.
fn trace_id() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

impl<S, N> FormatEvent<S, N> for WithTrace
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let trace = trace_id();
        match (self, trace) {
            (Self::Text(format), None) => format.format_event(context, writer, event),
            (Self::Text(format), Some(trace)) => {
                write!(writer, "{trace} ")?;
                format.format_event(context, writer, event)
            }
            (Self::Json(format), None) => format.format_event(context, writer, event),
            (Self::Json(format), Some(trace)) => {
                let mut line = String::new();
                format.format_event(context, Writer::new(&mut line), event)?;
                // Hex digits need no escapes, and an object of an event is never empty.
                let rest = line.strip_prefix('{').ok_or(std::fmt::Error)?;
                write!(writer, "{{\"trace_id\":\"{trace}\",{rest}")
            }
        }
    }
}
