//! The groups and clients of a new installation.

use weir_platform_uaa_store::{AutoApprove, Client, ClientDetail};

use crate::Config;

/// The groups of every user.
pub(super) const DEFAULT_GROUPS: [&str; 14] = [
    "openid",
    "scim.me",
    "cloud_controller.read",
    "cloud_controller.write",
    "cloud_controller_service_permissions.read",
    "password.write",
    "scim.userids",
    "uaa.user",
    "approvals.me",
    "oauth.approvals",
    "profile",
    "roles",
    "user_attributes",
    "uaa.offline_token",
];

/// The further groups of the administrator.
pub(super) const ADMIN_GROUPS: [&str; 13] = [
    "cloud_controller.admin",
    "doppler.firehose",
    "logs.admin",
    "scim.read",
    "scim.write",
    "network.admin",
    "routing.router_groups.read",
    "routing.router_groups.write",
    "clients.read",
    "clients.write",
    "uaa.admin",
    "tokens.list",
    "tokens.revoke",
];

/// The groups that exist from the start without members.
pub(super) const OTHER_GROUPS: [&str; 11] = [
    "cloud_controller.admin_read_only",
    "cloud_controller.global_auditor",
    "clients.admin",
    "clients.secret",
    "email",
    "groups.update",
    "network.write",
    "perm.admin",
    "scim.create",
    "uaa.resource",
    "scim.invite",
];

/// A client of a new installation.
pub(super) struct Seeded {
    pub(super) id: &'static str,
    pub(super) secret: SecretKind,
    grants: &'static [&'static str],
    scope: &'static [&'static str],
    authorities: &'static [&'static str],
    auto_approve: bool,
    /// The redirect URIs, as paths below the external URL.
    redirects: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretKind {
    /// The empty text, which the cf CLI sends.
    Empty,
    /// A random secret, which is written to the file of client secrets.
    Random,
}

const SERVICE: &[&str] = &["client_credentials"];

/// The scopes of the cf CLI. `logs.read.*` stands for the right to read the logs of one app, which groups give.
const CF_SCOPES: &[&str] = &[
    "cloud_controller.read",
    "cloud_controller.write",
    "cloud_controller.admin",
    "cloud_controller.admin_read_only",
    "cloud_controller.global_auditor",
    "openid",
    "password.write",
    "scim.me",
    "scim.read",
    "scim.write",
    "scim.userids",
    "doppler.firehose",
    "logs.admin",
    "logs.read.*",
    "network.admin",
    "network.write",
    "uaa.user",
    "routing.router_groups.read",
    "routing.router_groups.write",
    "clients.read",
    "perm.admin",
];

pub(super) const CLIENTS: &[Seeded] = &[
    Seeded {
        id: "cf",
        secret: SecretKind::Empty,
        grants: &[
            "password",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        scope: CF_SCOPES,
        authorities: &["uaa.none"],
        auto_approve: true,
        redirects: &[],
    },
    // The client of `weir login`: the scopes of `cf`, and those of an administrator.
    Seeded {
        id: "weir",
        secret: SecretKind::Empty,
        grants: &[
            "password",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        scope: &[
            "cloud_controller.read",
            "cloud_controller.write",
            "cloud_controller.admin",
            "cloud_controller.admin_read_only",
            "cloud_controller.global_auditor",
            "openid",
            "password.write",
            "scim.me",
            "scim.read",
            "scim.write",
            "scim.userids",
            "doppler.firehose",
            "logs.admin",
            "logs.read.*",
            "network.admin",
            "network.write",
            "uaa.user",
            "uaa.admin",
            "clients.read",
            "clients.write",
            "tokens.list",
            "tokens.revoke",
            "routing.router_groups.read",
            "routing.router_groups.write",
        ],
        authorities: &["uaa.none"],
        auto_approve: true,
        redirects: &[],
    },
    Seeded {
        id: "admin",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &[
            "uaa.admin",
            "clients.read",
            "clients.write",
            "clients.secret",
            "clients.admin",
            "scim.read",
            "scim.write",
            "password.write",
        ],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "doppler",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &["uaa.resource"],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "ssh-proxy",
        secret: SecretKind::Random,
        grants: &["authorization_code"],
        scope: &[
            "openid",
            "cloud_controller.read",
            "cloud_controller.write",
            "cloud_controller.admin",
        ],
        authorities: &["uaa.none"],
        auto_approve: true,
        redirects: &["/login"],
    },
    Seeded {
        id: "cloud_controller_username_lookup",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &["scim.userids", "scim.read"],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "network-policy",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &["uaa.resource", "cloud_controller.admin_read_only"],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "cc_routing",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &["routing.router_groups.read"],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "gorouter",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &["routing.routes.read"],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "routing_api_client",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &[
            "routing.routes.read",
            "routing.routes.write",
            "routing.router_groups.read",
            "routing.router_groups.write",
        ],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "tcp_router",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &["routing.routes.read", "routing.router_groups.read"],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "tcp_emitter",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &[
            "routing.routes.write",
            "routing.routes.read",
            "routing.router_groups.read",
        ],
        auto_approve: false,
        redirects: &[],
    },
    Seeded {
        id: "cf_smoke_tests",
        secret: SecretKind::Random,
        grants: SERVICE,
        scope: &["uaa.none"],
        authorities: &["cloud_controller.admin", "clients.read"],
        auto_approve: false,
        redirects: &[],
    },
];

impl Seeded {
    pub(super) fn client(&self, config: &Config, secret_hash: String, now: i64) -> Client {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let cli = self.secret == SecretKind::Empty;
        Client {
            id: self.id.to_owned(),
            name: None,
            secret_hash,
            second_hash: None,
            detail: ClientDetail {
                scope: list(self.scope),
                authorities: list(self.authorities),
                authorized_grant_types: list(self.grants),
                redirect_uri: self
                    .redirects
                    .iter()
                    .map(|path| format!("{}{path}", config.external_url))
                    .collect(),
                auto_approve: AutoApprove::Whole(self.auto_approve),
                // The clients of people have the life times of the original, independent of the configuration.
                access_token_validity: cli.then_some(1200),
                refresh_token_validity: cli.then_some(2_592_000),
                ..ClientDetail::default()
            },
            created_at: now,
            modified_at: now,
            as_of: 0,
        }
    }
}
