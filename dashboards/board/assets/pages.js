/* Keeps the home page as it now is on the server. What a person is doing (focus, what is typed or ticked) stays. */
(function () {
  "use strict";
  const EVERY = 4000;
  const live = () => document.querySelector("[data-live]");

  function same(old, made) {
    if (old.nodeType !== made.nodeType || old.nodeName !== made.nodeName) return old.replaceWith(made);
    if (old.nodeType === Node.TEXT_NODE) { if (old.data !== made.data) old.data = made.data; return; }
    for (const { name } of [...old.attributes]) if (!made.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of [...made.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const wanted = [...made.childNodes];
    while (old.childNodes.length > wanted.length) old.lastChild.remove();
    wanted.forEach(function (one, at) { if (old.childNodes[at]) same(old.childNodes[at], one); else old.append(one); });
  }

  let last = null;
  async function renew() {
    try {
      const answer = await fetch(location.href, { headers: { "If-None-Match": last || "" } });
      if (answer.ok) {
        last = answer.headers.get("ETag");
        const made = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
        if (made && live()) same(live(), made); else if (made) location.reload();
      }
    } catch (gone) {
      // The next try may find it again.
    }
    setTimeout(renew, EVERY);
  }
  if (live()) setTimeout(renew, EVERY);
})();
