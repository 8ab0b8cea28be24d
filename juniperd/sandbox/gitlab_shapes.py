"""GitLab's REST v4 answers, field by field, from the values in `world`.

Shapes: https://docs.gitlab.com/api/rest/ (projects, members, users, protected branches, tags and environments).
"""

from __future__ import annotations

import hashlib
import re

from juniperd.sandbox.world import (
    Access,
    Environment,
    Group,
    Member,
    Project,
    ProtectedEnvironment,
    ProtectedRef,
    User,
    World,
)

Json = dict[str, object]
CREATED = "2024-01-15T09:00:00.000Z"
_DESCRIPTIONS = {0: "No one", 30: "Developers + Maintainers", 40: "Maintainers", 60: "Administrators"}


def user_row(user: User, url: str, *, to_admin: bool) -> Json:
    """`GET /users/:id`; identities are for administrators only."""
    row: Json = {
        "id": user.id,
        "username": user.username,
        "name": user.name,
        "state": user.state,
        "locked": user.locked,
        "avatar_url": None,
        "web_url": f"{url}/{user.username}",
        "created_at": CREATED,
        "bot": user.bot,
    }
    if to_admin:
        identities = [{"provider": "oidc", "extern_uid": user.extern_uid, "saml_provider_id": None}]
        row |= {
            "is_admin": user.is_admin,
            "external": False,
            "two_factor_enabled": True,
            "identities": identities if user.extern_uid else [],
        }
    return row


def member_row(member: Member, user: User, url: str) -> Json:
    """`GET /projects/:id/members/all/:user_id`; `state` is the account's, `membership_state` the membership's."""
    row: Json = {
        "id": user.id,
        "username": user.username,
        "name": user.name,
        "state": user.state,
        "locked": user.locked,
        "avatar_url": None,
        "web_url": f"{url}/{user.username}",
        "access_level": member.access_level,
        "created_at": CREATED,
        "expires_at": member.expires_at,
        "group_saml_identity": None,
        "membership_state": member.state,
        "member_role": None,
    }
    if member.role is not None:
        row["member_role"] = {
            "id": member.role.id,
            "name": member.role.name,
            "base_access_level": member.role.base_access_level,
        }
    return row


def project_row(project: Project, world: World, url: str) -> Json:
    """`GET /projects/:id` as its Maintainer sees it."""
    group = world.group(project.group_id)
    name = project.path.rpartition("/")[2]
    return {
        "id": project.id,
        "name": name.capitalize(),
        "path": name,
        "path_with_namespace": project.path,
        "name_with_namespace": f"{group.name} / {name.capitalize()}",
        "default_branch": project.default_branch,
        "visibility": "private",
        "web_url": f"{url}/{project.path}",
        "archived": project.archived,
        "marked_for_deletion_at": project.marked_for_deletion_on,
        "marked_for_deletion_on": project.marked_for_deletion_on,
        "empty_repo": False,
        "jobs_enabled": project.builds_access_level != "disabled",
        "builds_access_level": project.builds_access_level,
        "repository_access_level": "enabled",
        "environments_access_level": "enabled",
        "ci_config_path": project.ci_config_path,
        "namespace": {
            "id": group.id,
            "name": group.name,
            "path": group.path.rpartition("/")[2],
            "kind": "group",
            "full_path": group.path,
            "parent_id": group.parent_id,
            "web_url": f"{url}/groups/{group.path}",
        },
        "permissions": {"project_access": {"access_level": 40, "notification_level": 3}, "group_access": None},
        "created_at": CREATED,
    }


def group_row(group: Group, url: str) -> Json:
    """`GET /groups/:id`."""
    return {
        "id": group.id,
        "name": group.name,
        "path": group.path.rpartition("/")[2],
        "full_name": group.path.replace("/", " / "),
        "full_path": group.path,
        "parent_id": group.parent_id,
        "visibility": "private",
        "web_url": f"{url}/groups/{group.path}",
        "avatar_url": None,
        "marked_for_deletion_on": None,
        "created_at": CREATED,
    }


def _access(access: Access, at: int, **more: object) -> Json:
    description = "Role" if access.level is None else _DESCRIPTIONS.get(access.level, str(access.level))
    return {
        "id": at,
        "access_level": access.level,
        "access_level_description": description,
        "user_id": access.user_id,
        "group_id": access.group_id,
        **more,
    }


def _ref_access(rows: tuple[Access, ...]) -> list[Json]:
    return [_access(row, at, deploy_key_id=row.deploy_key_id) for at, row in enumerate(rows, 1)]


def protected_branch_row(protection: ProtectedRef, at: int, *, inherited: bool) -> Json:
    """`GET /projects/:id/protected_branches`, one element; the name may be a wildcard."""
    return {
        "id": at,
        "name": protection.name,
        "push_access_levels": _ref_access(protection.push),
        "merge_access_levels": _ref_access(protection.merge),
        "unprotect_access_levels": _ref_access((Access(level=40),)),
        "allow_force_push": False,
        "code_owner_approval_required": False,
        "inherited": inherited,
    }


def protected_tag_row(protection: ProtectedRef) -> Json:
    """`GET /projects/:id/protected_tags`, one element."""
    return {"name": protection.name, "create_access_levels": _ref_access(protection.push)}


def protected_environment_row(protection: ProtectedEnvironment) -> Json:
    """`GET /projects/:id/protected_environments` (name) and `/groups/:id/protected_environments` (tier)."""
    levels = [_access(row, at, group_inheritance_type=0) for at, row in enumerate(protection.deploy, 1)]
    rules = [
        {
            "id": 1,
            "user_id": None,
            "group_id": None,
            "access_level": 40,
            "access_level_description": "Maintainers",
            "required_approvals": protection.approvals,
            "group_inheritance_type": 0,
        }
    ]
    return {
        "name": protection.name,
        "deploy_access_levels": levels,
        "required_approval_count": 0,
        "approval_rules": rules if protection.approvals else [],
    }


def environment_slug(name: str) -> str:
    """As GitLab makes it: a name that is not plain is cut to 17 letters and gets six of its SHA-256 in base 36."""
    plain = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", name.lower()))
    plain = plain if plain[:1].isalpha() else f"env-{plain}".replace("--", "-")
    if plain == name and len(plain) <= 24:
        return plain.removesuffix("-")
    number, digits = int(hashlib.sha256(name.encode()).hexdigest(), 16), ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = f"{digit if digit < 10 else chr(ord('a') + digit - 10)}{digits}"
    return f"{plain[:17].removesuffix('-')}-{digits}"


def environment_row(environment: Environment) -> Json:
    """`GET /projects/:id/environments`, one element."""
    return {
        "id": environment.id,
        "name": environment.name,
        "slug": environment_slug(environment.name),
        "description": None,
        "external_url": None,
        "created_at": CREATED,
        "updated_at": CREATED,
        "tier": environment.tier,
        "state": environment.state,
        "auto_stop_at": None,
        "kubernetes_namespace": None,
        "flux_resource_path": None,
        "auto_stop_setting": "always",
    }


def ref_row(name: str) -> Json:
    """`GET /projects/:id/repository/branches` or `/tags`, one element, without the commit's details."""
    return {"name": name, "commit": {"id": "0" * 40, "short_id": "0" * 8}, "protected": False}
