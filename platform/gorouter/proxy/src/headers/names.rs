//! Names of headers that HTTP itself does not know.

use http::HeaderName;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(crate) static $name: HeaderName = HeaderName::from_static($text);)*
    };
}

names! {
    /// The client's address, and those of the proxies before this one.
    X_FORWARDED_FOR = "x-forwarded-for";
    /// The scheme that the client used.
    X_FORWARDED_PROTO = "x-forwarded-proto";
    /// The certificate that the client has shown.
    X_FORWARDED_CLIENT_CERT = "x-forwarded-client-cert";
    /// When the request began, in milliseconds since 1970.
    X_REQUEST_START = "x-request-start";
    /// The number that the request has in all logs.
    X_VCAP_REQUEST_ID = "x-vcap-request-id";
    /// The key with which an operator asks which backend answered.
    X_VCAP_TRACE = "x-vcap-trace";
    /// The router that answered.
    X_VCAP_ROUTER = "x-vcap-router";
    /// The backend that answered.
    X_VCAP_BACKEND = "x-vcap-backend";
    /// The backend that answered, once more.
    X_CF_ROUTE_ENDPOINT = "x-cf-routeendpoint";
    /// The application of the backend.
    X_CF_APPLICATION_ID = "x-cf-applicationid";
    /// The index of the backend among the instances of its application.
    X_CF_INSTANCE_INDEX = "x-cf-instanceindex";
    /// The instance id of the backend.
    X_CF_INSTANCE_ID = "x-cf-instanceid";
    /// The application instance that a client asks for.
    X_CF_APP_INSTANCE = "x-cf-app-instance";
    /// The process instance that a client asks for.
    X_CF_PROCESS_INSTANCE = "x-cf-process-instance";
    /// Why the router answered itself.
    X_CF_ROUTER_ERROR = "x-cf-routererror";
    /// The proof that a request went through a route service.
    X_CF_PROXY_SIGNATURE = "x-cf-proxy-signature";
    /// What is needed to check that proof.
    X_CF_PROXY_METADATA = "x-cf-proxy-metadata";
    /// Where a route service sends the request on to.
    X_CF_FORWARDED_URL = "x-cf-forwarded-url";
    /// A key that makes a request safe to repeat.
    IDEMPOTENCY_KEY = "idempotency-key";
    /// The older name of that key.
    X_IDEMPOTENCY_KEY = "x-idempotency-key";
    /// Of HTTP/1.0.
    KEEP_ALIVE = "keep-alive";
    /// Of HTTP/1.0, for proxies.
    PROXY_CONNECTION = "proxy-connection";
    /// W3C trace context.
    TRACEPARENT = "traceparent";
    /// W3C trace context: what vendors add.
    TRACESTATE = "tracestate";
    /// Zipkin, in one header.
    B3 = "b3";
    /// Zipkin: the trace.
    X_B3_TRACE_ID = "x-b3-traceid";
    /// Zipkin: the span.
    X_B3_SPAN_ID = "x-b3-spanid";
    /// Zipkin: the span above.
    X_B3_PARENT_SPAN_ID = "x-b3-parentspanid";
    /// Zipkin: whether the trace is recorded.
    X_B3_SAMPLED = "x-b3-sampled";
    /// Zipkin: debug.
    X_B3_FLAGS = "x-b3-flags";
}
