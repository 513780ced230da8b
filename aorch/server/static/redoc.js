"use strict";

// ReDoc shows its maker's logo from another host, and nothing of this page may come from elsewhere: it is given an image
// that cannot be read, and takes it away.
function ofThisHost(address) {
  return new URL(address, document.baseURI).origin === location.origin ? address : "data:,";
}
const source = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
Object.defineProperty(HTMLImageElement.prototype, "src", {
  ...source,
  set(address) {
    source.set.call(this, ofThisHost(address));
  },
});
HTMLImageElement.prototype.setAttribute = function (name, value) {
  Element.prototype.setAttribute.call(this, name, name === "src" ? ofThisHost(value) : value);
};

const text = "system-ui, sans-serif";
const code = "ui-monospace, monospace";
Redoc.init(
  "openapi.json",
  {
    requiredPropsFirst: true,
    theme: { typography: { fontFamily: text, headings: { fontFamily: text }, code: { fontFamily: code } } },
  },
  document.getElementById("page"),
);
