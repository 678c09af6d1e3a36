//! The calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use weir_config::Secret;
use weir_net::{AnswerBody, AnswerLimits, HttpsClient, HttpsError};
use weir_tls::ClientTls;

use crate::models::{Route, RouterGroup, TcpRoute};
use crate::token::{Tokens, authorization};
use crate::{ApiError, ClientError, EventStream, RoutingApiSettings};

/// The limits of a call. The deadline is that of the original's client; 128 MiB are about 400,000 routes.
const LIMITS: AnswerLimits = AnswerLimits {
    deadline: Duration::from_secs(60),
    body: 128 << 20,
};

/// How long the head of the answer to a subscription may take.
const SUBSCRIPTION: Duration = Duration::from_secs(30);

/// Bytes of a refused subscription's body that are read.
const REFUSAL: usize = 64 << 10;

/// A routing API, asked with the tokens of one client. Clones share the token and the connection.
#[derive(Debug, Clone)]
pub struct RoutingApi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    https: HttpsClient,
    tokens: Tokens,
}

impl RoutingApi {
    /// A client with these settings; it connects when it is used.
    ///
    /// # Errors
    /// When the certificates or the address of UAA cannot be used.
    pub fn new(settings: &RoutingApiSettings) -> Result<Self, ClientError> {
        let tls = ClientTls::mutual(&settings.identity)?;
        Ok(Self(Arc::new(Inner {
            url: settings.url.clone(),
            https: HttpsClient::of(&settings.server_name, &tls)?,
            tokens: Tokens::new(settings)?,
        })))
    }

    /// Registers HTTP routes, or refreshes those that are registered.
    ///
    /// # Errors
    /// When the call is refused or has no answer. What was registered by then stays.
    pub async fn upsert_routes(&self, routes: &[Route]) -> Result<(), ClientError> {
        self.send(Method::POST, "/routing/v1/routes", Some(&routes))
            .await
            .map(drop)
    }

    /// Removes HTTP routes. One that is not registered is no error.
    ///
    /// # Errors
    /// When the call is refused or has no answer.
    pub async fn delete_routes(&self, routes: &[Route]) -> Result<(), ClientError> {
        self.send(Method::DELETE, "/routing/v1/routes", Some(&routes))
            .await
            .map(drop)
    }

    /// Lists all HTTP routes.
    ///
    /// # Errors
    /// When the call is refused or has no answer.
    pub async fn routes(&self) -> Result<Vec<Route>, ClientError> {
        self.list("/routing/v1/routes").await
    }

    /// Registers TCP routes, or refreshes those that are registered.
    ///
    /// # Errors
    /// When the call is refused or has no answer. What was registered by then stays.
    pub async fn upsert_tcp_routes(&self, routes: &[TcpRoute]) -> Result<(), ClientError> {
        let path = "/routing/v1/tcp_routes/create";
        self.send(Method::POST, path, Some(&routes)).await.map(drop)
    }

    /// Removes TCP routes. One that is not registered is no error.
    ///
    /// # Errors
    /// When the call is refused or has no answer.
    pub async fn delete_tcp_routes(&self, routes: &[TcpRoute]) -> Result<(), ClientError> {
        let path = "/routing/v1/tcp_routes/delete";
        self.send(Method::POST, path, Some(&routes)).await.map(drop)
    }

    /// Lists the TCP routes of these isolation segments, where an empty one stands for no segment; all routes if there is
    /// no segment in the list.
    ///
    /// # Errors
    /// When the call is refused or has no answer.
    pub async fn tcp_routes(&self, isolation_segments: &[String]) -> Result<Vec<TcpRoute>, ClientError> {
        let mut path = "/routing/v1/tcp_routes".to_owned();
        if !isolation_segments.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(isolation_segments.iter().map(|segment| ("isolation_segment", segment)));
            path = format!("{path}?{}", query.finish());
        }
        self.list(&path).await
    }

    /// Lists all router groups.
    ///
    /// # Errors
    /// When the call is refused or has no answer.
    pub async fn router_groups(&self) -> Result<Vec<RouterGroup>, ClientError> {
        self.list("/routing/v1/router_groups").await
    }

    /// The router group of this name, if there is one.
    ///
    /// # Errors
    /// When the call is refused for another reason than that there is none, or has no answer.
    pub async fn router_group(&self, name: &str) -> Result<Option<RouterGroup>, ClientError> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("name", name)
            .finish();
        match self.list(&format!("/routing/v1/router_groups?{query}")).await {
            Ok(groups) => Ok(groups.into_iter().next()),
            Err(ClientError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a router group, and returns it with its guid; the one that exists if its name and type are taken.
    ///
    /// # Errors
    /// When the call is refused or has no answer.
    pub async fn create_router_group(&self, group: &RouterGroup) -> Result<RouterGroup, ClientError> {
        read(
            &self
                .send(Method::POST, "/routing/v1/router_groups", Some(group))
                .await?,
        )
    }

    /// Changes the reservable ports of the router group with the guid of `group`, and returns the group.
    ///
    /// # Errors
    /// When the call is refused or has no answer.
    pub async fn update_router_group(&self, group: &RouterGroup) -> Result<RouterGroup, ClientError> {
        let path = group_path(&group.guid);
        read(&self.send(Method::PUT, &path, Some(group)).await?)
    }

    /// Removes a router group.
    ///
    /// # Errors
    /// When the call is refused, also because there is no such group, or has no answer.
    pub async fn delete_router_group(&self, guid: &str) -> Result<(), ClientError> {
        let path = group_path(guid);
        self.send(Method::DELETE, &path, None::<&()>).await.map(drop)
    }

    /// The changes of HTTP routes.
    #[must_use]
    pub fn http_events(&self) -> EventStream<Route> {
        EventStream::new(self.clone())
    }

    /// The changes of TCP routes.
    #[must_use]
    pub fn tcp_events(&self) -> EventStream<TcpRoute> {
        EventStream::new(self.clone())
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        // The original writes null where its list is empty.
        let entries: Option<Vec<T>> = read(&self.send(Method::GET, path, None::<&()>).await?)?;
        Ok(entries.unwrap_or_default())
    }

    /// Makes a call, once more with a new token if the first one is refused, and returns the body of the answer.
    async fn send<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Bytes, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| ClientError::Answer {
            reason: error.to_string(),
        })?;
        let body = body.map(Bytes::from).unwrap_or_default();
        let mut token = self.0.tokens.token(None).await?;
        let mut is_last = false;
        loop {
            let request = self.request(method.clone(), path, body.clone(), &token)?;
            let answer = self.0.https.send(request, LIMITS).await;
            let (head, body) = answer.map_err(|source| self.unanswered(source))?.into_parts();
            if head.status == StatusCode::UNAUTHORIZED && !is_last {
                token = self.0.tokens.token(Some(&token)).await?;
                is_last = true;
            } else if head.status.is_success() {
                return Ok(body);
            } else {
                return Err(refusal(head.status, &body));
            }
        }
    }

    /// Opens a stream of events. The answer's body is the stream.
    pub(crate) async fn subscribe(&self, path: &str) -> Result<AnswerBody, ClientError> {
        let mut token = self.0.tokens.token(None).await?;
        let mut is_last = false;
        loop {
            let request = self.request(Method::GET, path, Bytes::new(), &token)?;
            let answer = self.open(request).await?;
            let (status, body) = (answer.status(), answer.into_body());
            if status == StatusCode::UNAUTHORIZED && !is_last {
                token = self.0.tokens.token(Some(&token)).await?;
                is_last = true;
            } else if status.is_success() {
                return Ok(body);
            } else {
                let read = tokio::time::timeout(SUBSCRIPTION, weir_net::read_body(body, REFUSAL)).await;
                let text = read.ok().and_then(Result::ok).unwrap_or_default();
                return Err(refusal(status, &text));
            }
        }
    }

    async fn open(&self, request: Request<Bytes>) -> Result<Response<AnswerBody>, ClientError> {
        let answer = tokio::time::timeout(SUBSCRIPTION, self.0.https.open(request)).await;
        let answer = answer.map_err(|_| ClientError::Late {
            url: self.0.url.clone(),
        })?;
        answer.map_err(|source| self.unanswered(source))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        token: &Secret<String>,
    ) -> Result<Request<Bytes>, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.0.url))
            .header(header::AUTHORIZATION, authorization(token)?)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        request.map_err(|error| ClientError::Answer {
            reason: error.to_string(),
        })
    }

    fn unanswered(&self, source: HttpsError) -> ClientError {
        ClientError::Https {
            url: self.0.url.clone(),
            source,
        }
    }
}

fn group_path(guid: &str) -> String {
    // A blank is no plus in a path.
    let guid: String = form_urlencoded::byte_serialize(guid.as_bytes()).collect();
    format!("/routing/v1/router_groups/{}", guid.replace('+', "%20"))
}

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    ClientError::Refused {
        status,
        error: ApiError::of(body),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Answer {
        reason: error.to_string(),
    })
}
