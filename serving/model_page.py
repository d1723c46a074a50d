"""The page that shows a model's OpenAPI document. The document itself: `model_api.py`.

The page knows nothing of the model but the name it was asked for, so it is open: a browser cannot send a token with a
page. The document is not; its reader is asked for a token.
"""

from html import escape

from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from serving.model_paths import paths_of

STATIC = "/static-offline-docs"
"""Where `fastapi_offline` serves Swagger UI's files."""
_ASKING = """<script>
(() => {
  const KEY = "mlflow-ext-token";
  const send = window.fetch.bind(window);
  const showing = (init, token) => {
    const headers = new Headers(init?.headers);
    if (token && !headers.has("Authorization")) headers.set("Authorization", `Bearer ${token}`);
    return {...init, headers};
  };
  window.fetch = async (url, init) => {
    if (new URL(url, location.href).origin !== location.origin) return send(url, init);
    const answer = await send(url, showing(init, sessionStorage.getItem(KEY)));
    if (answer.status !== 401) return answer;
    const given = window.prompt("This service asks for a token, with the right read, and score to try it out:")?.trim();
    if (!given) return answer;
    sessionStorage.setItem(KEY, given);
    return send(url, showing(init, given));
  };
})();
</script>
</head>"""
"""Before Swagger UI: what it fetches carries a token once the service has asked for one; kept as long as the tab."""


def page_of(model: str, root_path: str = "") -> HTMLResponse:
    """Make the page of a model, whether or not there is one of that name."""
    page = get_swagger_ui_html(
        openapi_url=f"{root_path}{paths_of(model)[0]}/openapi.json",
        # FastAPI writes it into the page as it is
        title=escape(model),
        swagger_js_url=f"{root_path}{STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{root_path}{STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{root_path}{STATIC}/favicon.png",
    )
    return HTMLResponse(bytes(page.body).decode().replace("</head>", _ASKING, 1))
