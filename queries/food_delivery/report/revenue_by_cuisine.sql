-- One row is a cuisine with what its delivered orders brought in.
select
    coalesce(restaurants.cuisine_type, 'unknown') as cuisine,
    count(*) as orders,
    sum(fact.total_amount) as revenue,
    cast(avg(fact.total_amount) as decimal(12, 2)) as average_order
from fact_orders as fact
left join dim_restaurants as restaurants on restaurants.restaurant_id = fact.restaurant_id
where fact.order_status = 'Delivered'
group by 1
order by revenue desc, cuisine
limit 10
