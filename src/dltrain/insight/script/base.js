// What all parts of the script use. Everything that is said comes from the page itself, and is put back as text,
// never as markup.
const SVG = "http://www.w3.org/2000/svg";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, text = "", values = {}) => {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  return made;
};
const pressed = (element, act) => {
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act(event);
  });
};
