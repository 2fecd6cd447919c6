// Shows which model is served.
const response = await fetch("v1/models");
const list = await response.json();
document.getElementById("model").textContent = response.ok ? `This server runs ${list.data[0].id}.` : list.error.message;
