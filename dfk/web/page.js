// Sends a file that was dropped or chosen, and shows the answer, or why there is none.
"use strict";

const upload = document.getElementById("upload");
const input = upload.querySelector("input");
const state = document.getElementById("state");
const shown = document.getElementById("shown");
const recheck = document.getElementById("recheck"); // Not where the model cannot
const refusal = document.getElementById("refusal");
const IDLE = state.textContent;
const LARGEST = Number(upload.dataset.maxBytes);
let running = new AbortController();

async function answer(file) {
  running.abort(); // Whoever takes the next file waits for the last one no more.
  const { signal } = (running = new AbortController());
  say(`Looking at ${file.name} …`, true);
  const part = await ask(file, signal);
  if (signal.aborted) return;
  for (const place of part.querySelectorAll(".file")) place.textContent = file.name;
  for (const bar of part.querySelectorAll("[data-width]")) bar.style.width = bar.dataset.width;
  shown.replaceChildren(part);
  say(IDLE, false);
}

async function ask(file, signal) {
  if (file.size > LARGEST)
    return refused(`The file is larger than ${LARGEST / 2 ** 20} MB, the most that is taken.`);
  try {
    const address = recheck?.checked ? "answer?recheck=1" : "answer";
    const response = await fetch(address, { method: "POST", body: file, signal });
    const text = await response.text();
    return response.ok ? parsed(text) : refused(text);
  } catch {
    return refused("It could not be sent: the file has changed, the page has ended, or the connection is slow.");
  }
}

function parsed(text) {
  const part = document.createElement("template");
  part.innerHTML = text;
  return part.content;
}

function refused(why) {
  const part = refusal.content.cloneNode(true);
  part.querySelector(".why").textContent = why;
  return part;
}

function say(text, busy) {
  state.textContent = text;
  shown.setAttribute("aria-busy", String(busy));
}

input.addEventListener("change", () => {
  if (input.files.length) answer(input.files[0]);
  input.value = ""; // The same file may be chosen again.
});

// Wherever on the page: beside the place for it, a browser would open the file instead of the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  upload.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) upload.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  upload.classList.remove("over");
  if (event.dataTransfer.files.length) answer(event.dataTransfer.files[0]);
});
