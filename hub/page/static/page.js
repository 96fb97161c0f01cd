// Keeps an open page up to date, and lets a reader move the map. Everything else works without it.
// Written for browsers from about 2016 on (WebView 51): no modules, no optional chaining.
(function () {
  "use strict";
  var root = document.documentElement;
  root.className += " js";

  // ---- the map

  var map = document.getElementById("map");
  var whole = map && map.getAttribute("viewBox").split(" ").map(Number);
  var box = whole && whole.slice();
  var MOST = 40;

  function unit() {
    // Plane units of one pixel, as the picture is fitted into its box.
    var size = map.getBoundingClientRect();
    return size.width ? Math.max(box[2] / size.width, box[3] / size.height) : 1;
  }

  function scaled(within) {
    var all = (within || map).querySelectorAll(".k");
    // On a narrow screen marks are smaller, or the town would be nothing but marks.
    var size = map.getBoundingClientRect().width < 600 ? 0.7 : 1;
    var scale = "scale(" + (unit() * size).toFixed(4) + ")";
    for (var i = 0; i < all.length; i++) all[i].setAttribute("transform", scale);
  }

  function show(next) {
    var wide = Math.min(Math.max(next[2], whole[2] / MOST), whole[2]);
    var high = wide * whole[3] / whole[2];
    var slack = 0.5 * wide;
    box = [
      Math.min(Math.max(next[0], whole[0] - slack), whole[0] + whole[2] - wide + slack),
      Math.min(Math.max(next[1], whole[1] - slack), whole[1] + whole[3] - high + slack),
      wide, high
    ];
    if (wide === whole[2]) box = whole.slice();
    map.setAttribute("viewBox", box.join(" "));
    map.setAttribute("class", wide < whole[2] / 2.4 ? "near" : "");
    scaled();
    measure();
    tiles();
    try { sessionStorage.setItem("box " + town(), JSON.stringify(box)); } catch (e) { /* it is not remembered */ }
  }

  function town() {
    var chosen = document.querySelector("#filter input[name=town]");
    return chosen ? chosen.value : "";
  }

  function zoom(factor, x, y) {
    var wide = Math.min(Math.max(box[2] / factor, whole[2] / MOST), whole[2]);
    var real = box[2] / wide;
    show([x - (x - box[0]) / real, y - (y - box[1]) / real, wide]);
  }

  function at(event) {
    var size = map.getBoundingClientRect();
    var one = unit();
    return [
      box[0] + box[2] / 2 + (event.clientX - size.left - size.width / 2) * one,
      box[1] + box[3] / 2 + (event.clientY - size.top - size.height / 2) * one
    ];
  }

  function measure() {
    var scale = document.querySelector(".scale");
    if (!scale) return;
    var metres = unit() * Number(map.getAttribute("data-metres")) * 90;
    var power = Math.pow(10, Math.floor(Math.log(metres) / Math.LN10));
    var round = metres >= 5 * power ? 5 * power : metres >= 2 * power ? 2 * power : power;
    scale.firstElementChild.style.width = (90 * round / metres).toFixed(0) + "px";
    scale.lastElementChild.textContent = round >= 1000 ? round / 1000 + " km" : round + " m";
  }

  function tiles() {
    var layer = document.getElementById("tiles");
    var world = layer && layer.getAttribute("data-world");
    if (!world) return;
    world = JSON.parse(world);
    var address = layer.getAttribute("data-address");
    var z = Math.min(18, Math.max(3, Math.round(Math.log(1 / (256 * unit() * world[2])) / Math.LN2)));
    var count = Math.pow(2, z), side = 1 / count / world[2], made = "";
    var first = [box[0], box[1]].map(function (edge, i) { return Math.floor((world[i] + edge * world[2]) * count); });
    var last = [box[0] + box[2], box[1] + box[3]].map(function (edge, i) {
      return Math.floor((world[i] + edge * world[2]) * count);
    });
    if ((last[0] - first[0] + 1) * (last[1] - first[1] + 1) > 120) return;
    layer.textContent = "";
    for (var x = first[0]; x <= last[0]; x++) {
      for (var y = first[1]; y <= last[1]; y++) {
        var tile = document.createElementNS("http://www.w3.org/2000/svg", "image");
        tile.setAttribute("href", address.replace("{z}", z).replace("{x}", x).replace("{y}", y));
        tile.setAttribute("x", (x / count - world[0]) / world[2]);
        tile.setAttribute("y", (y / count - world[1]) / world[2]);
        tile.setAttribute("width", side);
        tile.setAttribute("height", side);
        layer.appendChild(tile);
      }
    }
  }

  function moving() {
    var held = {}, moved = 0, last = null;

    function fingers() { return Object.keys(held).map(function (id) { return held[id]; }); }

    function spread(two) {
      return {
        clientX: (two[0].clientX + two[1].clientX) / 2,
        clientY: (two[0].clientY + two[1].clientY) / 2,
        far: Math.hypot(two[0].clientX - two[1].clientX, two[0].clientY - two[1].clientY)
      };
    }

    function down(id, point) {
      held[id] = point;
      moved = Object.keys(held).length > 1 ? 100 : 0;
      last = null;
    }

    function move(id, point) {
      if (!held[id]) return false;
      var before = held[id];
      held[id] = point;
      var all = fingers();
      if (all.length > 1) {
        var now = spread(all);
        if (last && last.far) {
          var place = at(last), one = unit();
          zoom(now.far / last.far, place[0], place[1]);
          show([box[0] - (now.clientX - last.clientX) * one, box[1] - (now.clientY - last.clientY) * one, box[2]]);
        }
        last = now;
        return true;
      }
      var x = point.clientX - before.clientX, y = point.clientY - before.clientY;
      moved += Math.abs(x) + Math.abs(y);
      if (box[2] >= whole[2] && !point.mouse) return false;
      show([box[0] - x * unit(), box[1] - y * unit(), box[2]]);
      return true;
    }

    function up(id) { delete held[id]; last = null; }

    map.addEventListener("mousedown", function (event) {
      if (event.button === 0) { down("mouse", { clientX: event.clientX, clientY: event.clientY, mouse: true }); event.preventDefault(); }
    });
    window.addEventListener("mousemove", function (event) {
      move("mouse", { clientX: event.clientX, clientY: event.clientY, mouse: true });
    });
    window.addEventListener("mouseup", function () { up("mouse"); });
    function each(event, what) {
      var used = false;
      for (var i = 0; i < event.changedTouches.length; i++) {
        var touch = event.changedTouches[i];
        used = what(touch.identifier, { clientX: touch.clientX, clientY: touch.clientY }) || used;
      }
      if (used && event.cancelable) event.preventDefault();
    }
    // One finger on the whole map scrolls the page; when the map is zoomed it moves the map. Two fingers always zoom.
    map.addEventListener("touchstart", function (event) { each(event, down); });
    map.addEventListener("touchmove", function (event) { each(event, move); }, { passive: false });
    map.addEventListener("touchend", function (event) { each(event, up); });
    map.addEventListener("touchcancel", function (event) { each(event, up); });
    // What began as a move is no click on the mark under it.
    map.addEventListener("click", function (event) {
      if (moved > 6) { event.preventDefault(); event.stopPropagation(); }
    }, true);
    map.addEventListener("wheel", function (event) {
      var place = at(event);
      zoom(event.deltaY < 0 ? 1.25 : 0.8, place[0], place[1]);
      event.preventDefault();
    }, { passive: false });
    map.addEventListener("keydown", function (event) {
      var step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) show([box[0] + step[0] * box[2] / 8, box[1] + step[1] * box[2] / 8, box[2]]);
      else if (event.key === "+" || event.key === "=") zoom(1.6, box[0] + box[2] / 2, box[1] + box[3] / 2);
      else if (event.key === "-") zoom(1 / 1.6, box[0] + box[2] / 2, box[1] + box[3] / 2);
      else if (event.key === "0") show(whole.slice());
      else return;
      event.preventDefault();
    });
    map.addEventListener("dragstart", function (event) { event.preventDefault(); });
  }

  if (map) {
    var folded = document.querySelector(".map-fold");
    try {
      var kept = JSON.parse(sessionStorage.getItem("box " + town()));
      if (kept && kept.length === 4) box = kept;
    } catch (e) { /* the whole town, then */ }
    show(box);
    moving();
    window.addEventListener("resize", function () { scaled(); measure(); });
    if (folded) folded.addEventListener("toggle", function () { if (folded.open) { scaled(); measure(); } });
    Array.prototype.forEach.call(document.querySelectorAll("[data-zoom]"), function (button) {
      button.addEventListener("click", function () {
        var how = button.getAttribute("data-zoom");
        if (how === "whole") show(whole.slice());
        else zoom(how === "in" ? 1.6 : 1 / 1.6, box[0] + box[2] / 2, box[1] + box[3] / 2);
      });
    });
    Array.prototype.forEach.call(document.querySelectorAll("[data-layer]"), function (check) {
      function shown() { map.parentNode.classList.toggle("no-" + check.getAttribute("data-layer"), !check.checked); }
      try {
        var was = localStorage.getItem("layer " + check.getAttribute("data-layer"));
        if (was) check.checked = was === "yes";
      } catch (e) { /* as it stands */ }
      shown();
      check.addEventListener("change", function () {
        shown();
        try { localStorage.setItem("layer " + check.getAttribute("data-layer"), check.checked ? "yes" : "no"); } catch (e) { /* not remembered */ }
      });
    });
  }

  // A row and its mark belong together.
  function paired(event) {
    var row = event.target.closest ? event.target.closest("[data-id], .mark") : null;
    var lit = document.querySelectorAll(".lit");
    for (var i = 0; i < lit.length; i++) lit[i].classList.remove("lit");
    if (!row) return;
    var id = row.getAttribute("data-id") || row.id.slice(2);
    var mark = document.getElementById("m-" + id);
    if (mark) {
      mark.classList.add("lit");
      if (row.getAttribute("data-id")) mark.parentNode.appendChild(mark);
    }
    var other = document.querySelector('[data-id="' + id + '"]');
    if (other) other.classList.add("lit");
  }
  if (map) {
    document.addEventListener("mouseover", paired);
    document.addEventListener("focusin", paired);
  }

  // ---- filters

  var filter = document.getElementById("filter");
  if (filter) {
    filter.addEventListener("change", function (event) { if (event.target.tagName === "SELECT") sent(); });
    filter.addEventListener("submit", function (event) { event.preventDefault(); sent(); });
    var typing = 0, field = filter.querySelector("input[type=search]");
    field.addEventListener("input", function () {
      clearTimeout(typing);
      typing = setTimeout(asked, 250);
    });
  }

  function wanted() {
    var pairs = [];
    Array.prototype.forEach.call(filter.elements, function (one) {
      if (one.name && one.value && !(one.name === "sort" && one.value === "lamp")) {
        pairs.push(encodeURIComponent(one.name) + "=" + encodeURIComponent(one.value));
      }
    });
    return pairs.join("&");
  }

  function sent() { location.href = "/?" + wanted(); }

  // While a reader types, the stream is asked anew and brings what is found; the address says it too.
  function asked() {
    var query = wanted();
    history.replaceState(null, "", "/?" + query);
    document.body.setAttribute("data-stream", "/stream/town?" + query);
    document.body.setAttribute("data-seen", "");
    listen();
  }

  Array.prototype.forEach.call(document.querySelectorAll("[data-go]"), function (select) {
    select.addEventListener("change", function () { select.form.submit(); });
  });

  // ---- live

  var stream = null, cut = document.getElementById("cut"), since = 0, again = 0;

  function clockOf(date) {
    function two(number) { return (number < 10 ? "0" : "") + number; }
    var there = new Date(date.getTime() + 8 * 3600000);
    return two(there.getUTCHours()) + ":" + two(there.getUTCMinutes()) + ":" + two(there.getUTCSeconds());
  }

  function lost() {
    if (!since) since = Date.now();
    cut.hidden = false;
    cut.lastElementChild.textContent = clockOf(new Date(since));
    root.classList.add("lost");
  }

  function back() {
    since = 0;
    cut.hidden = true;
    root.classList.remove("lost");
  }

  function focusOf(within) {
    var here = document.activeElement;
    return here && within.contains(here) ? (here.getAttribute("data-id") || here.getAttribute("href")) : null;
  }

  function replace(place, html) {
    var focused = focusOf(place);
    if (place instanceof SVGElement) {
      var made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      made.innerHTML = html;
      place.textContent = "";
      while (made.firstChild) place.appendChild(made.firstChild);
      scaled(place);
    } else {
      place.innerHTML = html;
    }
    if (focused) {
      var links = place.querySelectorAll("a");
      for (var i = 0; i < links.length; i++) {
        if (links[i].getAttribute("data-id") === focused || links[i].getAttribute("href") === focused) {
          links[i].focus({ preventScroll: true });
          break;
        }
      }
    }
  }

  function put(id, html, fresh) {
    var layer = document.getElementById("marks"), old = document.getElementById(id);
    if (!layer) return;
    if (!html) { if (old) old.parentNode.removeChild(old); return; }
    var made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    made.innerHTML = html;
    var mark = made.firstChild;
    scaled(mark);
    if (old) layer.replaceChild(mark, old);
    else { layer.appendChild(mark); if (fresh) mark.classList.add("fresh"); }
  }

  function told(message) {
    if (message.reload) { location.reload(); return; }
    var id;
    if (message.whole) {
      var all = document.querySelectorAll("#marks > .mark");
      for (var i = 0; i < all.length; i++) if (!message.marks[all[i].id]) put(all[i].id, "");
    }
    for (id in message.parts) {
      var place = document.getElementById(id);
      if (place) replace(place, message.parts[id]);
    }
    for (id in message.marks) put(id, message.marks[id], !message.whole);
    if (message.open !== undefined) document.title = document.title.replace(/^\(\d+\)/, "(" + message.open + ")");
  }

  function listen() {
    var address = document.body.getAttribute("data-stream");
    if (!address || !window.EventSource) return;
    if (stream) stream.close();
    clearTimeout(again);
    var seen = document.body.getAttribute("data-seen");
    stream = new EventSource(address + (address.indexOf("?") < 0 ? "?" : "&") + "seen=" + seen);
    // Whatever comes after a break is the whole of it.
    document.body.setAttribute("data-seen", "");
    stream.onopen = back;
    stream.onmessage = function (event) { told(JSON.parse(event.data)); };
    stream.onerror = function () {
      lost();
      // The browser's own next try would name what was seen before the break.
      stream.close();
      clearTimeout(again);
      again = setTimeout(listen, 2000);
    };
  }

  window.addEventListener("pagehide", function () { if (stream) stream.close(); });
  window.addEventListener("pageshow", function (event) { if (event.persisted) listen(); });
  listen();
})();
