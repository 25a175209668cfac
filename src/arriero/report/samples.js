"use strict";
const form = document.querySelector(".filters");
const cards = [...document.querySelectorAll(".document")];
function filter() {
  const wanted = [...form.querySelectorAll("select")].filter((select) => select.value);
  for (const card of cards) card.hidden = wanted.some((select) => card.dataset[select.name] !== select.value);
  form.querySelector("output").textContent = `${cards.filter((card) => !card.hidden).length} shown`;
}
form.addEventListener("change", filter);
form.hidden = false;
filter(); // a browser keeps what was chosen when a page is loaded again
